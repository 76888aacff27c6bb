from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import Dataset, ShardWriter, make_row
from pipeline.metrics.bias import properties
from pipeline.metrics.bias import survey as module
from pipeline.metrics.bias.survey import Survey, evenly, pictures, survey
from tests.tiny import NAMES, bars, write

Ints = npt.NDArray[np.int64]


def test_small_classes_are_taken_whole_and_large_ones_as_far_as_they_fit() -> None:
    labels = np.repeat([0, 1, 3], [10, 3, 1])
    rows = evenly(labels, 8, seed=0)
    assert np.bincount(labels[rows]).tolist() == [4, 3, 0, 1]
    assert (np.diff(rows) > 0).all()
    assert not np.array_equal(rows, evenly(labels, 8, seed=1))
    assert evenly(labels, 14, seed=0).tolist() == list(range(14))
    assert evenly(labels, 100, seed=0).tolist() == list(range(14))
    assert evenly(np.empty(0, dtype=np.int64), 5, seed=0).tolist() == []


LABELS = {"train": np.arange(40) % 3, "val": np.array([], dtype=np.int64), "test": np.arange(7) % 3}


def images(split: str, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    return bars(LABELS[split], shape, seed=len(split))


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Dataset]:
    return {
        split: Dataset.open(write(tmp_path / split, images(split, (3, 8, 8)), labels))
        for split, labels in LABELS.items()
    }


COPIED = np.array([3, 4, 39])


def test_every_image_is_measured_once_and_in_order(data: dict[str, Dataset], tmp_path: Path) -> None:
    found = survey(data, COPIED, tmp_path)
    assert found.num_rows == {"train": 40, "val": 0, "test": 7}
    for split in ("train", "test"):
        expected = properties.measure(images(split, (3, 8, 8)).transpose(0, 2, 3, 1))
        assert set(expected) | {"size", "aspect"} == set(found.measured)
        for name, values in expected.items():
            np.testing.assert_array_equal(found.column(name, split), values)
        np.testing.assert_array_equal(found.column("label", split), LABELS[split])
    assert len(found.column("label", "val")) == 0
    np.testing.assert_array_equal(found.copies, images("train", (3, 8, 8))[COPIED].transpose(0, 2, 3, 1))


def test_rows_are_taken_by_their_number_through_the_splits(data: dict[str, Dataset], tmp_path: Path) -> None:
    found = survey(data, COPIED, tmp_path)
    taken = found.take(["split", "path", "id"], np.array([0, 39, 40, 46]))
    assert list(zip(taken["split"], taken["path"], strict=True)) == [
        ("train", "0.png"),
        ("train", "39.png"),
        ("test", "0.png"),
        ("test", "6.png"),
    ]
    assert taken["id"].tolist()[2] == next(data["test"].rows()).id
    assert len(found.take(["id"], np.array([], dtype=np.int64))) == 0


def contents(found: Survey) -> pd.DataFrame:
    return pd.concat([table.to_pandas() for table in found.tables()], ignore_index=True)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_any_number_of_jobs_and_workers_finds_the_same(
    data: dict[str, Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    whole = survey(data, COPIED, _new(tmp_path / "whole"))
    monkeypatch.setattr(module, "JOB_PIXELS", 8 * 8 * 10)
    monkeypatch.setattr("pipeline.dataset.writer.ROW_GROUP_ROWS", 12)
    cut = {
        split: Dataset.open(write(tmp_path / f"{split} cut", images(split, (3, 8, 8)), labels))
        for split, labels in LABELS.items()
    }
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", workers)
    parts = survey(cut, COPIED, _new(tmp_path / "parts"))
    assert len(parts.parts) == 4
    pd.testing.assert_frame_equal(contents(parts), contents(whole))
    np.testing.assert_array_equal(parts.copies, whole.copies)
    np.testing.assert_array_equal(parts.column("brightness", "test"), whole.column("brightness", "test"))
    rows = np.array([11, 12, 30, 45])
    assert parts.take(["id"], rows)["id"].tolist() == whole.take(["id"], rows)["id"].tolist()


def _new(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_what_the_source_says_is_kept_and_may_be_missing(tmp_path: Path) -> None:
    folder = tmp_path / "given"
    plain = make_row(bars([0])[0, 0], 0, path="0.png", origin="real")
    with ShardWriter(folder, NAMES) as writer:
        writer.add(replace(plain, source_width=100, source_height=25, group="camera 1"))
        writer.add(plain)
    older = pq.read_table(folder / "00000-00000.parquet").drop_columns(["source_width", "source_height", "group"])
    pq.write_table(older.slice(0, 1), folder / "00001-00000.parquet")
    found = survey({"train": Dataset.open(folder)}, np.array([0]), tmp_path)
    np.testing.assert_array_equal(found.column("size", "train"), np.float32([50, np.nan, np.nan]))
    np.testing.assert_array_equal(found.column("aspect", "train"), np.float32([4, np.nan, np.nan]))
    assert contents(found)["group"].fillna("none").tolist() == ["camera 1", "none", "none"]


def test_copies_of_large_images_are_small(tmp_path: Path) -> None:
    large = np.zeros((2, 1, 64, 64), dtype=np.uint8)
    large[1, :, :2] = 200
    data = {"train": Dataset.open(write(tmp_path / "large", large, [0, 1]))}
    copies = survey(data, np.array([0, 1]), tmp_path).copies
    assert copies.shape == (2, 32, 32, 1)
    assert (copies[1, 0].min(), copies[1, 1:].max()) == (200, 0)


def test_pictures_come_in_the_order_asked_for(data: dict[str, Dataset]) -> None:
    found = pictures(data, [41, 3, 0])
    expected = [images("test", (3, 8, 8))[1], *images("train", (3, 8, 8))[[3, 0]]]
    assert all(np.array_equal(a, b.transpose(1, 2, 0)) for a, b in zip(found, expected, strict=True))


def test_the_batch_is_read_off_the_shard_s_name(tmp_path: Path) -> None:
    folder = write(tmp_path / "train", bars([0, 1]), [0, 1])
    other = write(tmp_path / "later", bars([1], seed=1), [1])
    (other / "00000-00000.parquet").rename(folder / "00012-00000.parquet")
    found = survey({"train": Dataset.open(folder)}, np.array([0]), tmp_path)
    assert found.column("batch", "train").tolist() == [0, 0, 12]
