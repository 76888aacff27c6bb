"""What is planted is found, and what is not planted is not."""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from pipeline.dataset import Dataset
from pipeline.metrics.bias import analysis
from pipeline.metrics.bias.survey import evenly, survey
from pipeline.stages import analyze_bias
from tests.stages.uneven import NAMES, Images, analyse, framed, read, scenes, told, write
from tests.tiny import settings

LABELS = np.repeat(np.arange(4), [60, 40, 25, 15])
PARAMS = settings(analyze_bias.Params, "analyze_bias")


def cues_of(root: Path, images: Images, labels: npt.NDArray[np.int64] = LABELS) -> analysis.Cues:
    """What gives the label away in a training set."""
    data = {"train": Dataset.open(write(root / "train", [(images, labels)]))}
    found = survey(data, evenly(labels, 10, 0), root)
    return analysis.spurious(found, labels, NAMES, images.shape[1], PARAMS.cues, PARAMS.seed)


@pytest.mark.parametrize("seed", range(5))
def test_a_frame_that_gives_a_class_away_is_found(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = framed(scenes(LABELS, seed), (LABELS == 2) & (rng.random(len(LABELS)) < 0.9))
    border = cues_of(tmp_path, images).found["border"]
    assert border.class_effect[2] > 0.7
    assert border.class_p[2] <= 0.005
    assert np.delete(border.class_p, 2).min() > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_without_a_frame_nothing_gives_the_class_away(tmp_path: Path, seed: int) -> None:
    found = cues_of(tmp_path, scenes(LABELS, seed)).found
    assert {"border", "colour", "exposure", "sharpness"} == set(found)
    limits = PARAMS.findings
    for cue in found.values():
        assert not (cue.effect >= limits.cue and cue.p <= limits.alpha)
        assert not ((cue.class_effect >= limits.cue) & (cue.class_p <= limits.alpha)).any()


def test_equal_images_in_the_order_of_their_classes_give_nothing_away(tmp_path: Path) -> None:
    images = framed(scenes(LABELS, 0), np.ones(len(LABELS), dtype=np.bool_))  # all borders are equal
    border = cues_of(tmp_path, images).found["border"]
    assert border.effect < 0.2
    assert min(border.p, border.class_p.min()) > 0.01


def test_a_frame_is_told_and_so_is_why_other_cues_were_not_tested(tmp_path: Path) -> None:
    found = analyse(tmp_path, [(framed(scenes(LABELS, 0), LABELS == 1), LABELS)])
    assert "border gives 'dog' away: 100% above chance, p 0.005" in told(found, "cue")
    assert found["cues"]["border"]["classes"]["dog"]["p"] == 0.005
    assert found["not_measured"] == {
        "size": "the rows do not hold the size at the source",
        "aspect": "the rows do not hold the size at the source",
        "file name": "the same for all images",
        "folder": "the same for all images",
        "capture group": "not given",
        "drift": "all training images came in one batch",
    }
    cues = pd.read_csv(tmp_path / "out" / "cues.csv").set_index("cue")
    assert cues.loc["border", "class"] == "dog"
    assert cues.loc["border", "class_effect"] == cues["class_effect"].max()


def test_a_camera_that_saw_one_class_and_its_format_are_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    cameras = np.where(LABELS == 3, 9, rng.integers(0, 3, len(LABELS)))
    widths = np.where(LABELS == 1, 640, 480) + rng.integers(-20, 20, len(LABELS))
    widths[7] = 5000
    given = [
        {"group": f"camera {n}", "source_width": int(w), "source_height": 480}
        for n, w in zip(cameras, widths, strict=True)
    ]
    found = analyse(tmp_path, [(scenes(LABELS, 0), LABELS)], given=given)
    lines = told(found, "cue")
    assert any(line.startswith("capture group gives '5$ $x_{' away: 100% above chance") for line in lines)
    assert any(line.startswith("size gives 'dog' away: 9") for line in lines)
    assert len(lines) == 2
    assert found["properties"]["size"]["dog"][2] == pytest.approx((640 * 480) ** 0.5, rel=0.02)
    assert found["odd_images"]["counts"]["odd size"]["train"] == 1
    assert [e["path"] for e in found["odd_images"]["oddest"] if e["kind"] == "odd shape"] == ["train/7.png"]


def test_images_of_no_group_say_nothing_of_each_other(tmp_path: Path) -> None:
    given = [{"group": "camera 1"} if label == 0 else {} for label in LABELS]
    found = analyse(tmp_path, [(scenes(LABELS, 0), LABELS)], given=given)
    classes = found["cues"]["capture group"]["classes"]
    assert classes["cat"]["effect"] == 1.0
    assert max(classes[name]["effect"] for name in NAMES[1:]) == 0.0


def test_in_very_small_images_the_border_is_content(tmp_path: Path) -> None:
    found = cues_of(tmp_path, scenes(LABELS, 0, side=12))
    assert set(found.found) == {"colour", "exposure"}
    assert "16 pixels" in found.skipped["border"]


def test_planted_swaps_are_listed_with_their_true_class(tmp_path: Path) -> None:
    labels = LABELS.copy()
    swapped = np.array([3, 30, 70, 110])
    labels[swapped] = (labels[swapped] + 1) % 4
    found = analyse(tmp_path, [(scenes(LABELS, 0), labels)])
    images = found["label_issues"]["images"]
    listed = {int(Path(image["path"]).stem): image for image in images}
    assert len(set(listed) & set(swapped)) >= 3
    assert len(images) <= 5
    for row in set(listed) & set(swapped):
        assert listed[row]["class"] == NAMES[labels[row]]
        assert listed[row]["suggested"] == NAMES[LABELS[row]]
        assert 0 <= listed[row]["score"] <= PARAMS.label_issues.max_given_prob
    table = pd.read_parquet(tmp_path / "out" / "images.parquet")
    doubted = table[table["suggested_class"].notna()]
    assert sorted(doubted["id"]) == sorted(image["id"] for image in images)
    assert all("label" in flags for flags in doubted["flags"])
    assert (tmp_path / "out" / "plots" / "label_issues.png").is_file()


def test_a_wrongly_labelled_series_does_not_vouch_for_itself(tmp_path: Path) -> None:
    images, labels, series = scenes(LABELS, 0), LABELS.copy(), np.arange(40, 50)
    noise = np.random.default_rng(0).integers(-3, 4, images[series].shape)
    images[series], labels[series] = np.clip(images[40] + noise, 0, 255), 1
    given = [{"group": "series 1"} if row in series else {} for row in range(len(labels))]
    listed = {}
    for name, told_of in (("series", given), ("single images", None)):
        found = analyse(tmp_path / name, [(images, labels)], given=told_of)["label_issues"]["images"]
        listed[name] = len({int(Path(image["path"]).stem) for image in found} & set(series))
    assert listed["series"] >= 8
    assert listed["single images"] <= 2


def test_a_sample_of_the_images_names_the_right_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.dataset.writer.ROW_GROUP_ROWS", 20)
    monkeypatch.setattr("pipeline.metrics.bias.survey.JOB_PIXELS", 24 * 24 * 50)  # several parts
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    labels = LABELS.copy()
    swapped = np.array([105, 112, 130])
    labels[swapped] = (labels[swapped] + 1) % 4
    settings = {"filters": 32, "max_images": 110}  # of the two large classes only some
    found = analyse(tmp_path, [(scenes(LABELS, 0), labels)], quick_classifier=settings)["label_issues"]
    listed = {int(Path(image["path"]).stem) for image in found["images"]}
    assert listed <= set(swapped)
    assert len(listed) >= 2
    assert found["examined"] <= 110
    table = pd.read_parquet(tmp_path / "out" / "images.parquet")
    doubted = table[table["suggested_class"].notna()]
    assert {(row["id"], row["path"]) for _, row in doubted.iterrows()} == {
        (e["id"], e["path"]) for e in found["images"]
    }
    assert (doubted["split"] == "train").all()


def test_odd_images_are_listed_by_kind(tmp_path: Path) -> None:
    images = scenes(LABELS, 0)
    images[5, ::2], images[5, 1::2] = 0, 45
    images[50] = 120
    images[100] = cv2.GaussianBlur(images[100], (0, 0), 3.0)
    found = analyse(tmp_path, [(images, LABELS)])["odd_images"]
    assert {kind: splits["train"] for kind, splits in found["counts"].items()} == {
        "dark": 1,
        "bright": 0,
        "flat": 1,
        "blurred": 1,
    }
    oddest = {entry["kind"]: entry for entry in found["oddest"] if entry["split"] == "train"}
    assert {kind: entry["path"] for kind, entry in oddest.items()} == {
        "dark": "train/5.png",
        "flat": "train/50.png",
        "blurred": "train/100.png",
    }
    table = pd.read_parquet(tmp_path / "out" / "images.parquet").set_index("id")
    assert table.loc[oddest["dark"]["id"], "flags"].tolist() == ["dark"]
    assert table.loc[oddest["blurred"]["id"], "class"] == NAMES[LABELS[100]]
    assert read(tmp_path, "metrics.json")["odd_images"]["flat"] == 1
    assert (tmp_path / "out" / "plots" / "odd_images.png").is_file()


def night(seed: int, labels: npt.NDArray[np.int64], brighter: int = 0) -> tuple[Images, npt.NDArray[np.int64]]:
    images = scenes(labels, seed).astype(np.int64) + brighter
    return np.clip(images, 0, 255).astype(np.uint8), labels


EVEN = np.arange(120) % 4


def test_a_brighter_night_is_told_as_drift(tmp_path: Path) -> None:
    found = analyse(tmp_path, [night(1, EVEN), night(2, EVEN), night(3, EVEN[:60], brighter=25)])
    lines = told(found, "drift")
    assert len(lines) == 1
    assert lines[0].startswith("images of the newest batch differ from earlier ones in brightness: median 0.")
    shift = found["drift"]["properties"]["brightness"]
    assert shift["after"] - shift["before"] > 0.05
    assert (found["drift"]["images"], found["drift"]["compared_with"]) == (60, 240)
    assert found["drift"]["class_shares"]["p"] > 0.01
    drift = pd.read_csv(tmp_path / "out" / "drift.csv").set_index("what")
    assert drift.loc["newest batch: brightness", "distance"] == pytest.approx(shift["distance"], abs=1e-5)
    assert "drift" not in found["not_measured"]


@pytest.mark.parametrize("seed", range(3))
def test_a_night_like_the_others_is_none(tmp_path: Path, seed: int) -> None:
    found = analyse(tmp_path, [night(10 * seed, EVEN), night(10 * seed + 1, EVEN[:60])])
    assert told(found, "drift") == []


def test_a_night_of_a_few_images_proves_nothing(tmp_path: Path) -> None:
    found = analyse(tmp_path, [night(1, EVEN), night(2, np.array([0, 0, 0, 1, 2, 2]))])
    changes = found["drift"]["class_shares"]["change"]
    assert (changes[NAMES[0]], changes[NAMES[3]]) == (0.25, -0.25)
    assert told(found, "drift") == []


def test_of_very_many_images_every_nth_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "MOST_COMPARED", 100)
    assert analysis._some(np.arange(250)).tolist() == list(range(0, 250, 3))
    assert analysis._some(np.arange(100)).tolist() == list(range(100))
    assert analysis._some(np.arange(0)).tolist() == []


def test_a_night_of_one_class_is_a_change_of_shares_and_of_nothing_else(tmp_path: Path) -> None:
    found = analyse(tmp_path, [night(1, EVEN), night(2, np.full(60, 2))])
    lines = told(found, "drift")
    assert "'größe M' changed its share by +75 points with the newest batch" in lines
    assert all("changed its share" in line for line in lines)


def test_test_images_of_another_camera_are_told(tmp_path: Path) -> None:
    dark = np.clip(scenes(LABELS, 0).astype(np.int64) - 45, 0, 255).astype(np.uint8)
    lines = told(analyse(tmp_path, [(dark, LABELS)]), "split")
    assert any(line.startswith("test images differ from training images in brightness: median 0.") for line in lines)


def test_classes_that_are_short_against_reality_are_told(tmp_path: Path) -> None:
    # 140 images, of which a half, a quarter and two eighths are due: 70, 35, 17.5, 17.5 against 60, 40, 25, 15.
    shares = dict(zip(NAMES, (4, 2, 1, 1), strict=True))
    found = analyse(tmp_path / "near", [(scenes(LABELS, 0), LABELS)], reference=shares)
    assert told(found, "reference") == []
    assert found["reference"]["total_variation"] == pytest.approx((5 / 140 + 7.5 / 140 + 10 / 140 + 2.5 / 140) / 2)
    far = dict(zip(NAMES, (0.05, 0.05, 0.1, 0.8), strict=True))
    found = analyse(tmp_path / "far", [(scenes(LABELS, 0), LABELS)], reference=far)
    assert told(found, "reference") == ["'5$ $x_{' lacks 87% of its due images by the reference"]
    assert pd.read_csv(tmp_path / "far" / "out" / "histogram.csv")["due"].tolist() == [7.0, 7.0, 14.0, 112.0]
