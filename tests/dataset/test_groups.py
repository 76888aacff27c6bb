from pathlib import Path

import pytest

from pipeline.dataset import Dataset, group_names, group_numbers
from tests.builders import write_dataset


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    parts = [("one", "roof"), ("two", None), ("three", "cellar"), ("four", "roof")]
    return Dataset.open(*(write_dataset(tmp_path / name, {"cat": 1, "dog": 1}, group=group) for name, group in parts))


def test_groups_are_named_in_alphabetical_order_and_numbered_from_1(data: Dataset) -> None:
    assert group_names(data) == ("cellar", "roof")
    assert group_numbers(data, group_names(data)).tolist() == [2, 2, 0, 0, 1, 1, 2, 2]


def test_what_is_not_named_counts_as_no_group(data: Dataset) -> None:
    assert group_numbers(data, ("attic", "roof")).tolist() == [2, 2, 0, 0, 0, 0, 2, 2]
    assert group_numbers(data, ()).tolist() == [0] * 8


def test_without_groups_none_is_named(tmp_path: Path) -> None:
    data = Dataset.open(write_dataset(tmp_path / "none", {"cat": 2}))
    assert group_names(data) == ()
    assert group_numbers(data, ("roof",)).tolist() == [0, 0]
    empty = Dataset.open(write_dataset(tmp_path / "empty", {"cat": 0}))
    assert group_names(empty) == ()
    assert group_numbers(empty, ("roof",)).tolist() == []
