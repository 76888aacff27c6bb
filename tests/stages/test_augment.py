import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline import pace
from pipeline.dataset import Dataset, Row
from pipeline.errors import UserError
from pipeline.images import decode_png
from pipeline.stages import augment
from pipeline.transforms import policy, recipe
from tests.builders import digests, write_dataset
from tests.tiny import settings

COUNTS = {"cat": 3, "größe M": 2, "owl": 1, "all there": 4}
PLANNED = {"cat": 4, "größe M": 7, "owl": 5, "all there": 0}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "train", COUNTS, group="ward")


def run(train: Path, root: Path, **changes: Any) -> Dataset:
    root.mkdir(exist_ok=True)
    plan = {name: {"real": COUNTS[name], "augment": count, "synthesize": 9} for name, count in PLANNED.items()}
    (root / "plan.json").write_text(json.dumps(plan), encoding="utf-8")
    params = settings(augment.Params, "augment", **changes)
    augment.run(train, root / "plan.json", root / "out", root / "metrics.json", params)
    return Dataset.open(root / "out")


def test_as_many_as_planned_spread_evenly_over_the_real_ones(train: Path, tmp_path: Path) -> None:
    made = run(train, tmp_path / "a")
    assert made.class_names == tuple(COUNTS)
    assert made.class_counts().tolist() == [4, 7, 5, 0]
    parents = Counter((row.label, row.parent_id) for row in made.rows())
    assert sorted((label, count) for (label, _), count in parents.items()) == [
        (0, 1),
        (0, 1),
        (0, 2),
        (1, 3),
        (1, 4),
        (2, 5),
    ]
    assert json.loads((tmp_path / "a" / "metrics.json").read_text(encoding="utf-8")) == {"images": PLANNED}


def test_rows_name_a_real_parent_of_their_class(train: Path, tmp_path: Path) -> None:
    real = {row.id: row for row in Dataset.open(train).rows()}
    for row in run(train, tmp_path / "a", weight=0.5).rows():
        assert row.parent_id is not None
        assert real[row.parent_id].label == row.label
        assert (row.origin, row.split, row.weight, row.quality) == ("augmented", "train", 0.5, None)
        assert (row.width, row.height) == (12, 12)
        assert row.group == real[row.parent_id].group == "ward"


def assert_can_be_made_again(made: Dataset, train: Path) -> list[Row]:
    """From what is stored alone: parent, seed and recipe, in any order."""
    real = {row.id: row for row in Dataset.open(train).rows()}
    how, rows = recipe.read(made.folders[0]), list(made.rows())
    for row in reversed(rows):
        assert row.parent_id is not None
        again = recipe.rebuild(row, decode_png(real[row.parent_id].image), how)
        np.testing.assert_array_equal(again, decode_png(row.image))
    return rows


def test_parent_seed_and_recipe_make_each_image_again_bit_for_bit(train: Path, tmp_path: Path) -> None:
    rows = assert_can_be_made_again(run(train, tmp_path / "a"), train)
    assert len({row.seed for row in rows}) == len({row.id for row in rows}) == len(rows)
    assert not {row.pixel_hash for row in rows} & {row.pixel_hash for row in Dataset.open(train).rows()}


def test_so_it_is_under_a_policy_a_class_and_with_transforms_by_name(train: Path, tmp_path: Path) -> None:
    noisy = {"name": "trivial", "pick": 2, "extra": [{"name": "GaussNoise", "std_range": [0.05, 0.1], "p": 0.7}]}
    changes = {
        "policy": {"name": "strong"},
        "limits": {"vertical_flip": 0, "horizontal_flip": 1, "rotation_degrees": 90},
    }
    made = run(train, tmp_path / "a", **changes, per_class={"größe M": noisy, "owl": {"name": "none"}})
    rows = assert_can_be_made_again(made, train)
    parents = {row.id: row.pixel_hash for row in Dataset.open(train).rows()}
    unchanged = [row.label for row in rows if row.parent_id is not None and row.pixel_hash == parents[row.parent_id]]
    assert unchanged == [2] * 5  # nothing happens to owls
    # a recipe that says otherwise makes other images
    how = recipe.read(made.folders[0])
    other = replace(how, per_class={})
    cat = next(row for row in Dataset.open(train).rows() if row.label == 1)
    mine = next(row for row in rows if row.parent_id == cat.id)
    assert not np.array_equal(recipe.rebuild(mine, decode_png(cat.image), other), decode_png(mine.image))


def test_a_recipe_outlives_the_policy_s_file(train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run(train, tmp_path / "a", policy={"name": "medical"}, per_class={"owl": {"name": "trivial"}})
    (tmp_path / "policies").mkdir()
    monkeypatch.setattr(policy, "FOLDER", tmp_path / "policies")
    assert_can_be_made_again(made, train)


def test_a_class_of_its_own_policy_leaves_the_others_as_they_were(train: Path, tmp_path: Path) -> None:
    plain, own = run(train, tmp_path / "a"), run(train, tmp_path / "b", per_class={"owl": {"rotation_degrees": 5}})
    for label in range(3):
        ids = [{row.id for row in made.rows() if row.label == label} for made in (plain, own)]
        assert (ids[0] == ids[1]) == (label != 2)


def test_a_recipe_that_is_missing_or_damaged_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"recipe\.json: is not there; its images were not made by the stage augment$"):
        recipe.read(tmp_path)
    (tmp_path / "recipe.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"recipe\.json: is no JSON \("):
        recipe.read(tmp_path)
    (tmp_path / "recipe.json").write_text(
        '{"class_names": [], "policy": {"hue": 3}, "per_class": {}}', encoding="utf-8"
    )
    with pytest.raises(UserError, match=r"recipe\.json\.policy\.hue should be less than or equal to 0\.5, got 3$"):
        recipe.read(tmp_path)


# ------------------------------------------------------------ what is refused, before anything is made


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"policy": {"name": "standard"}},
            ["params.yaml: augment.policy.horizontal_flip is 0.5, beyond augment.limits.horizontal_flip, 0"],
        ),
        (
            {"per_class": {"owl": {"rotation_degrees": 45, "vertical_flip": 0.1}}},
            [
                "params.yaml: augment.per_class.owl.rotation_degrees is 45, beyond augment.limits.rotation_degrees, 30",
                "params.yaml: augment.per_class.owl.vertical_flip is 0.1, beyond augment.limits.vertical_flip, 0",
            ],
        ),
        (
            {"policy": {"extra": [{"name": "VerticalFlip", "p": 0.1}]}},
            [
                "params.yaml: augment.policy.extra.0: VerticalFlip would get around "
                "augment.limits.vertical_flip, 0; use the policy's own vertical_flip"
            ],
        ),
        (
            {"limits": {"vertical_flips": 0}, "per_class": {"owl": {"hue": "much"}, "cat": {"name": "digit"}}},
            [
                "params.yaml: augment.limits.vertical_flips: unknown key; did you mean 'vertical_flip'?",
                "params.yaml: augment.per_class.owl.hue should be a valid number, got 'much'",
                "params.yaml: augment.per_class.cat.name should be a policy (cifar, digits, medical, none, standard, "
                "strong, trivial; did you mean 'digits'?), got 'digit'",
            ],
        ),
    ],
    ids=["policy", "class", "by name", "wrong"],
)
def test_what_the_labels_do_not_survive_is_refused(changes: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        settings(augment.Params, "augment", **changes)
    assert str(caught.value).splitlines() == told


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"per_class": {"owls": {"crop": 0.1}}},
            r"augment\.per_class: unknown class 'owls'; did you mean 'owl'\? Known: cat, größe M, owl, all there$",
        ),
        ({"policy": {"extra": [{"name": "Normalize"}]}}, r"Normalize makes 12x12x3 float32 of 12x12x3 uint8; "),
        (
            {"per_class": {"owl": {"extra": [{"name": "Resize", "height": 9, "width": 9, "p": 0}]}}},
            r"Resize makes 9x9x3 uint8",
        ),
    ],
    ids=["class", "policy", "class's"],
)
def test_what_does_not_fit_the_images_is_refused(train: Path, tmp_path: Path, changes: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        run(train, tmp_path / "a", **changes)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a" / "out").exists()


def test_equal_runs_give_equal_bytes_and_another_seed_others(train: Path, tmp_path: Path) -> None:
    one, two, other = (run(train, tmp_path / name, seed=seed) for name, seed in (("one", 3), ("two", 3), ("other", 4)))
    assert digests(one.folders[0]) == digests(two.folders[0])
    assert not {row.id for row in one.rows()} & {row.id for row in other.rows()}


def test_what_is_made_of_an_image_does_not_depend_on_the_others(train: Path, tmp_path: Path) -> None:
    alone = write_dataset(tmp_path / "alone", {"cat": 0, "größe M": 0, "owl": 1, "all there": 0})
    all_rows = {(row.id, row.seed) for row in run(train, tmp_path / "a").rows() if row.label == 2}
    # The picture of class 2, number 0 is the same one in both; only its class has parents in the second data set.
    assert {(row.id, row.seed) for row in run(alone, tmp_path / "b").rows()} == all_rows


def test_the_time_an_image_took_is_noted(train: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([50.0, 54.0])
    monkeypatch.setattr(augment, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    assert run(train, tmp_path / "a").num_rows == 16
    assert pace.seconds_for("augment", 16) == pytest.approx(4.0)
