import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.dataset import Dataset
from pipeline.images import decode_png
from pipeline.stages import augment
from pipeline.transforms import policy
from tests.builders import digests, write_dataset
from tests.tiny import settings

COUNTS = {"cat": 3, "größe M": 2, "owl": 1, "all there": 4}
PLANNED = {"cat": 4, "größe M": 7, "owl": 5, "all there": 0}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "train", COUNTS)


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


def test_the_stored_seed_makes_the_image_again_bit_for_bit(train: Path, tmp_path: Path) -> None:
    real = {row.id: row for row in Dataset.open(train).rows()}
    params = settings(augment.Params, "augment")
    rows = list(run(train, tmp_path / "a").rows())
    for row in reversed(rows):
        assert row.parent_id is not None
        assert row.seed is not None
        pipeline = policy.build(params.policy, 12, 12)
        again = policy.apply(pipeline, decode_png(real[row.parent_id].image), row.seed)
        np.testing.assert_array_equal(again, decode_png(row.image))
    assert len({row.seed for row in rows}) == len({row.id for row in rows}) == len(rows)
    assert not {row.pixel_hash for row in rows} & {row.pixel_hash for row in real.values()}


def test_equal_runs_give_equal_bytes_and_another_seed_others(train: Path, tmp_path: Path) -> None:
    one, two, other = (run(train, tmp_path / name, seed=seed) for name, seed in (("one", 3), ("two", 3), ("other", 4)))
    assert digests(one.folders[0]) == digests(two.folders[0])
    assert not {row.id for row in one.rows()} & {row.id for row in other.rows()}


def test_what_is_made_of_an_image_does_not_depend_on_the_others(train: Path, tmp_path: Path) -> None:
    alone = write_dataset(tmp_path / "alone", {"cat": 0, "größe M": 0, "owl": 1, "all there": 0})
    all_rows = {(row.id, row.seed) for row in run(train, tmp_path / "a").rows() if row.label == 2}
    # The picture of class 2, number 0 is the same one in both; only its class has parents in the second data set.
    assert {(row.id, row.seed) for row in run(alone, tmp_path / "b").rows()} == all_rows
