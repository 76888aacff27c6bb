from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline.dataset import Dataset, ShardWriter
from pipeline.dataset import writer as dataset_writer
from pipeline.dataset.writer import ROW_GROUP_ROWS
from tests.builders import digests, rows, write_dataset


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = rows({"cat": 2, "dog": 1}, split="val", origin="synthetic", seed=7, weight=0.5, quality=0.25)
    with ShardWriter(tmp_path / "set", ("cat", "dog")) as writer:
        for row in written:
            writer.add(row)
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["00000-00000.parquet"]
    assert list(Dataset.open(tmp_path / "set").rows()) == written


def test_a_full_shard_is_closed_and_the_next_begun(tmp_path: Path) -> None:
    written = rows({"cat": 5})
    size = len(written[0].image)
    with ShardWriter(tmp_path, ("cat",), prefix="00003", shard_bytes=size + 1) as writer:
        for number in range(5):
            writer.add(replace(written[0], path=str(number)))
    assert [path.name for path in sorted(tmp_path.iterdir())] == [f"00003-0000{n}.parquet" for n in range(3)]
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.iterdir())] == [2, 2, 1]
    assert [row.path for row in Dataset.open(tmp_path).rows()] == ["0", "1", "2", "3", "4"]


def test_a_shard_of_tiny_images_has_no_more_rows_than_its_footer_can_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset_writer, "SHARD_ROWS", 2)
    write_dataset(tmp_path, {"cat": 5})
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.iterdir())] == [2, 2, 1]


def test_no_empty_shard_follows_a_full_one(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"cat": 3}, shard_bytes=1)
    assert [pq.read_metadata(path).num_rows for path in sorted(tmp_path.iterdir())] == [1, 1, 1]


@pytest.mark.parametrize(("num_rows", "groups"), [(499, [499]), (500, [500]), (501, [500, 1])])
def test_row_groups(tmp_path: Path, num_rows: int, groups: list[int]) -> None:
    row = rows({"cat": 1})[0]
    with ShardWriter(tmp_path, ("cat",)) as writer:
        for _ in range(num_rows):
            writer.add(row)
    found = pq.read_metadata(tmp_path / "00000-00000.parquet")
    assert [found.row_group(i).num_rows for i in range(found.num_row_groups)] == groups


def test_a_batch_is_appended_without_touching_what_is_there(tmp_path: Path) -> None:
    write_dataset(tmp_path, {"cat": 3, "dog": 2})
    before = digests(tmp_path)
    with ShardWriter(tmp_path, ("cat", "dog"), prefix="00001") as writer:
        writer.add(rows({"cat": 0, "dog": 1})[0])
    after = digests(tmp_path)
    assert sorted(after) == ["00000-00000.parquet", "00001-00000.parquet"]
    assert before.items() <= after.items()
    assert Dataset.open(tmp_path).class_counts().tolist() == [3, 3]


def test_equal_rows_give_equal_bytes(tmp_path: Path) -> None:
    one, two = (write_dataset(tmp_path / name, {"cat": 4, "dog": 2}) for name in ("one", "two"))
    assert digests(one) == digests(two)


@pytest.mark.parametrize("before", [1, ROW_GROUP_ROWS + 1], ids=["in memory", "a row group on disk"])
def test_nothing_half_written_is_left_after_an_exception(tmp_path: Path, before: int) -> None:
    row = rows({"cat": 1})[0]

    def fill() -> None:
        with ShardWriter(tmp_path, ("cat",)) as writer:
            for _ in range(before):
                writer.add(row)
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fill()
    assert list(tmp_path.iterdir()) == []


def test_whole_shards_stay_after_an_exception(tmp_path: Path) -> None:
    written = rows({"cat": 2})

    def fill() -> None:
        with ShardWriter(tmp_path, ("cat",), shard_bytes=len(written[0].image)) as writer:
            writer.add(written[0])
            writer.add(replace(written[1], image=b""))
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fill()
    assert [path.name for path in tmp_path.iterdir()] == ["00000-00000.parquet"]
    assert list(Dataset.open(tmp_path).rows()) == written[:1]
