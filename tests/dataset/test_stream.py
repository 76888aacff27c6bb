from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset import Dataset, shuffled
from tests.builders import write_dataset


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """30 rows in shards of a few."""
    return Dataset.open(write_dataset(tmp_path / "set", {"cat": 20, "dog": 10}, shard_bytes=1000))


def ids(dataset: Dataset, seed: int, buffer_rows: int = 8) -> list[str]:
    return [row["id"] for row in shuffled(dataset, seed, buffer_rows)]


@pytest.mark.parametrize("buffer_rows", [1, 8, 30, 4096])
def test_every_row_comes_once(dataset: Dataset, buffer_rows: int) -> None:
    assert len(dataset.shards) > 2
    in_order = [row.id for row in dataset.rows()]
    found = ids(dataset, 0, buffer_rows)
    assert found != in_order
    assert sorted(found) == sorted(in_order)
    assert len(set(found)) == 30


def test_the_order_depends_on_the_seed_only(dataset: Dataset) -> None:
    first = ids(dataset, 5)
    np.random.default_rng(1).random(3)
    assert ids(Dataset.open(*dataset.folders), 5) == first
    assert ids(dataset, 6) != first


def test_rows_of_one_row_group_are_shuffled_through_the_buffer(tmp_path: Path) -> None:
    one = Dataset.open(write_dataset(tmp_path / "one", {"cat": 30}))
    paths = [row["image"]["path"] for row in shuffled(one, 0, buffer_rows=8)]
    assert paths[0] in {f"cat/{number:03d}.png" for number in range(8)}
    assert paths[:22] != sorted(paths[:22])


def test_classes_are_mixed(dataset: Dataset) -> None:
    labels = [row["label"] for row in shuffled(dataset, 0)]
    assert len(set(labels[:10])) == 2


def test_an_empty_data_set_gives_nothing(tmp_path: Path) -> None:
    assert list(shuffled(Dataset.open(write_dataset(tmp_path, {"cat": 0})), 0)) == []
