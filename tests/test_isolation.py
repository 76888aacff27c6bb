"""Test images that are not real, or that something has seen, are refused in a line."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset import Dataset, Row, ShardWriter
from pipeline.errors import UserError
from pipeline.isolation import ids_digest, refuse_seen, source_names
from tests.tiny import NAMES, bars, write, write_bars


@pytest.fixture
def held(tmp_path: Path) -> Dataset:
    return Dataset.open(write_bars(tmp_path / "test", [3, 2, 1], split="test"))


def rewritten(folder: Path, rows: list[Row]) -> Dataset:
    folder.mkdir()
    with ShardWriter(folder, NAMES) as writer:
        for row in rows:
            writer.add(row)
    return Dataset.open(folder)


def test_images_that_nothing_has_seen_pass(held: Dataset, tmp_path: Path) -> None:
    train = Dataset.open(write_bars(tmp_path / "train", [5, 5, 5]))
    made = Dataset.open(write_bars(tmp_path / "made", [2, 2, 2], origin="augmented", parent_id="of a training image"))
    refuse_seen(held, [train, made])


@pytest.mark.parametrize("key", ["id", "pixel_hash", "parent_id"])
def test_what_was_seen_by_any_name_is_refused(held: Dataset, tmp_path: Path, key: str) -> None:
    seen = list(held.rows())[2:4]
    others = list(Dataset.open(write_bars(tmp_path / "train", [3, 0, 0])).rows())
    known: list[dict[str, Any]] = [{key: row.pixel_hash if key == "pixel_hash" else row.id} for row in seen]
    leaky = rewritten(tmp_path / "leaky", [others[0], replace(others[1], **known[0]), replace(others[2], **known[1])])
    with pytest.raises(
        UserError, match=r"test: 2 images of .*leaky are test images or made of them \(first: 2\.png\);"
    ):
        refuse_seen(held, [leaky])


def test_images_that_were_made_are_no_test_images(tmp_path: Path) -> None:
    made = Dataset.open(write_bars(tmp_path / "test", [1, 1, 1], origin="synthetic"))
    with pytest.raises(UserError, match=r"test: 0\.png is no real image but synthetic; arms are judged on real images"):
        refuse_seen(made, [])


def test_the_digest_is_of_the_images_and_not_of_their_order(held: Dataset, tmp_path: Path) -> None:
    rows = list(held.rows())
    assert ids_digest(rewritten(tmp_path / "turned", rows[::-1])) == ids_digest(held)
    assert ids_digest(rewritten(tmp_path / "fewer", rows[1:])) != ids_digest(held)


def test_an_image_bears_its_name_at_the_source_at_whatever_size_it_is_used(tmp_path: Path) -> None:
    names = []
    for side in (8, 12):
        made = Dataset.open(write(tmp_path / f"{side}", bars([0, 1], (1, side, side)), [0, 1]))
        rows = [replace(row, source_width=640, source_height=480) for row in made.rows()]
        names.append(source_names(rewritten(tmp_path / f"{side} again", rows)))
    assert names[0] == names[1] == ["0.png 640 480", "1.png 640 480"]
