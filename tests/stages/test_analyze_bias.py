import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import pace
from pipeline import plan as plans
from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.plan import ClassPlan
from pipeline.stages import analyze_bias
from tests.builders import digests, write_dataset
from tests.stages.uneven import FILES, analyse, read, scenes
from tests.stages.uneven import HELD_OUT as HELD_OUT_LABELS
from tests.tiny import settings

COUNTS = {"cat": 8, "größe M": 4, "5$ $x_{": 2}
HELD_OUT = {"cat": 2, "größe M": 1, "5$ $x_{": 0}
HALVES = {"target": 1.0, "augment_share": 0.5, "max_augment": 20, "max_synthesize": 20}


def run(root: Path, **changes: Any) -> Path:
    splits = [
        write_dataset(root / f"{name} set", COUNTS if name == "train" else HELD_OUT)
        for name in ("train", "val", "test")
    ]
    params = settings(analyze_bias.Params, "analyze_bias", **(HALVES | changes))
    analyze_bias.run(*splits, *(root / name for name in FILES), root / "plots", params)
    return root


def test_the_plan_by_hand(tmp_path: Path) -> None:
    assert plans.read(run(tmp_path) / "plan.json") == {
        "cat": ClassPlan(8, 0, 0),
        "größe M": ClassPlan(4, 2, 2),
        "5$ $x_{": ClassPlan(2, 3, 3),
    }


def test_the_plan_follows_its_settings(tmp_path: Path) -> None:
    run(tmp_path, target=2.0, augment_share=0.25, max_augment=1, max_synthesize=2)
    # Short of 16: 8, 12, 14; a quarter 2, 3, 3.5 (4, at most 2), the rest 6, 9, 12 (at most 16, 8, 4).
    assert [(e.augment, e.synthesize) for e in plans.read(tmp_path / "plan.json").values()] == [(2, 6), (3, 8), (2, 4)]


def test_the_plan_follows_a_reference_and_a_class_s_own_numbers(tmp_path: Path) -> None:
    run(
        tmp_path,
        reference={"cat": 1, "größe M": 1, "5$ $x_{": 0},
        strategies={"count": {"toward": "reference"}},
        overrides={"5$ $x_{": {"synthesize": 7}},
    )
    assert [(e.augment, e.synthesize) for e in plans.read(tmp_path / "plan.json").values()] == [(0, 0), (2, 2), (0, 7)]


def test_the_measures_by_hand(tmp_path: Path) -> None:
    found = json.loads((run(tmp_path, effective_number_beta=0.5) / "metrics.json").read_text(encoding="utf-8"))
    assert found["images"] == 14
    assert found["classes"] == 3
    assert found["imbalance_ratio"] == 4.0
    # -(4/7 ln 4/7 + 2/7 ln 2/7 + 1/7 ln 1/7) / ln 3 = (0.31978 + 0.35793 + 0.27799) / 1.09861
    assert found["entropy"] == pytest.approx(0.869918, abs=2e-5)
    # sum (2 i - 4) n_i / (3 * 14), n sorted 2 4 8: (-2 * 2 + 0 * 4 + 2 * 8) / 42
    assert found["gini"] == pytest.approx(12 / 42, abs=1e-6)
    # (1 - 0.5^n) / 0.5: 1.992, 1.875, 1.5
    assert found["effective_number"] == {"cat": 1.992, "größe M": 1.875, "5$ $x_{": 1.5}
    # Two classes are too small to be tested for cues, and all are too small for their labels to be judged.
    assert found["not_measured"]["all"] == "fewer than two classes of 5 images"
    assert found["label_issues"] == {"found": 0, "examined": 0, "classes_not_examined": 3}


def test_the_cost_of_the_plan_by_hand(tmp_path: Path) -> None:
    cost = json.loads((run(tmp_path) / "metrics.json").read_text(encoding="utf-8"))["plan"]
    sizes: dict[int, list[int]] = {1: [], 2: []}
    for row in Dataset.open(tmp_path / "train set").rows():
        sizes.setdefault(row.label, []).append(len(row.image))
    assert (cost["strategy"], cost["augment"], cost["synthesize"]) == ("count", 5, 5)
    assert cost["bytes"] == round(4 * np.mean(sizes[1]) + 6 * np.mean(sizes[2]))
    assert 0 <= cost["error_after"] <= cost["error_before"] <= 1


def test_the_histogram_and_its_pictures(tmp_path: Path) -> None:
    table = pd.read_csv(run(tmp_path) / "histogram.csv")
    assert table.to_dict("list") == {
        "class": ["cat", "größe M", "5$ $x_{"],
        "train": [8, 4, 2],
        "augment": [0, 2, 3],
        "synthesize": [0, 2, 3],
        "val": [2, 1, 0],
        "test": [2, 1, 0],
    }
    for name in ("histogram", "properties", "learning_curves"):
        with Image.open(tmp_path / "plots" / f"{name}.png") as image:
            assert np.ptp(np.asarray(image.convert("L"))) > 100
        svg = (tmp_path / "plots" / f"{name}.svg").read_text(encoding="utf-8")
        assert all(name in svg for name in COUNTS)


def test_the_table_of_all_images(tmp_path: Path) -> None:
    table = pd.read_parquet(run(tmp_path) / "images.parquet")
    rows = [row for name in ("train", "val", "test") for row in Dataset.open(tmp_path / f"{name} set").rows()]
    assert table["id"].tolist() == [row.id for row in rows]
    assert table["path"].tolist() == [row.path for row in rows]
    assert table["class"].tolist() == [list(COUNTS)[row.label] for row in rows]
    assert table["split"].tolist() == ["train"] * 14 + ["val"] * 3 + ["test"] * 3
    assert table["bytes"].tolist() == [len(row.image) for row in rows]
    assert table["brightness"].between(0.05, 0.6).all()
    assert all(isinstance(flags, np.ndarray) for flags in table["flags"])


def files(root: Path) -> dict[str, str]:
    """Digests of what the stage wrote."""
    return {name: digest for name, digest in digests(root).items() if " set/" not in name}


def test_equal_runs_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.metrics.bias.survey.JOB_PIXELS", 12 * 12 * 9)  # more than one job
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    first = files(run(tmp_path / "one"))
    assert len(first) == len(FILES) + 6
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "2")
    pace.record("augment", 10, 60.0)  # nothing of the machine's pace is written
    assert files(run(tmp_path / "two")) == first


SMALL = np.repeat(np.arange(4), [24, 12, 6, 3])


def test_what_is_told_before_anything_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pace.record("augment", 10, 60.0)
    analyse(tmp_path, [(scenes(SMALL, 0), SMALL)])
    lines = capsys.readouterr().err.splitlines()
    plan = read(tmp_path, "metrics.json")["plan"]
    (told,) = [line for line in lines if line.startswith("plan (count)")]
    assert told.startswith(f"plan (count): {plan['augment']} augmented and {plan['synthesize']} synthetic images, 0.0")
    assert f"  augment: about {plan['augment'] / 10:.1f} minutes here" in lines
    assert "  synthesize: not known before it has run here" in lines


def test_the_plan_depends_on_training_images_alone(tmp_path: Path) -> None:
    for name, seed in (("one", 902), ("other", 77)):
        test = scenes(HELD_OUT_LABELS, seed), HELD_OUT_LABELS
        analyse(tmp_path / name, [(scenes(SMALL, 0), SMALL)], test, strategy="gain")
    one, other = (files(tmp_path / name / "out") for name in ("one", "other"))
    assert one["plan.json"] == other["plan.json"]
    assert one["images.parquet"] != other["images.parquet"]


def test_a_budget_goes_where_more_images_help_and_not_where_they_do_not(tmp_path: Path) -> None:
    # The first two classes are told apart by nothing, of the third there are few.
    labels = np.repeat(np.arange(4), [30, 40, 6, 40])
    shown = labels.copy()
    shown[:70] = np.arange(70) % 2
    analyse(tmp_path, [(scenes(shown, 0), labels)], strategy="gain", strategies={"gain": {"budget": 60}})
    plan = plans.read(tmp_path / "out" / "plan.json")
    added = [entry.augment + entry.synthesize for entry in plan.values()]
    assert sum(added) == 60
    assert added[2] > 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"overrides": {"größe N": {"augment": 1}}},
            "params.yaml: analyze_bias.overrides: unknown class 'größe N'; did you mean 'größe M'?",
        ),
        (
            {"reference": {"cat": 1, "größe M": 1}},
            "params.yaml: analyze_bias.reference: says nothing of '5$ $x_{'; give every class a share, 0 or more",
        ),
    ],
)
def test_classes_that_there_are_not_are_one_line_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        run(tmp_path, **changes)
    assert str(caught.value) == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["test set", "train set", "val set"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "cuont"}, "analyze_bias.strategies: unknown strategy 'cuont'; did you mean 'count'?"),
        ({"strategies": {"count": {"toward": "odd"}}}, "strategies.count.toward should be 'even' or 'reference'"),
        ({"strategies": {"gain": {"budget": -1}}}, "analyze_bias.strategies.gain.budget should be greater than or"),
        (
            {"strategies": {"count": {"toward": "reference"}}},
            "strategies.count.toward is 'reference', but analyze_bias.reference gives no shares",
        ),
        ({"overrides": {"cat": {"augmnet": 1}}}, "analyze_bias.overrides.cat.augmnet: unknown key"),
        ({"overrides": {"cat": {"augment": 1.5}}}, "analyze_bias.overrides.cat.augment should be a valid integer"),
        ({"worth": 0}, "analyze_bias.worth should be greater than 0"),
        ({"cues": {"permutations": 3}}, "analyze_bias.cues.permutations should be greater than or equal to 19"),
    ],
)
def test_wrong_settings_are_told_before_anything_runs(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        settings(analyze_bias.Params, "analyze_bias", **changes)
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
