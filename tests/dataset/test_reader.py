from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import Dataset, ShardWriter, reader, writer
from pipeline.errors import UserError
from tests.builders import picture, rows, write_dataset


def erase_images(folder: Path) -> None:
    """Overwrites all bytes of the column `image` with zeros, so that whoever reads them fails."""
    for shard in folder.glob("*.parquet"):
        content = bytearray(shard.read_bytes())
        footer = pq.read_metadata(shard)
        for group in range(footer.num_row_groups):
            for place in range(footer.num_columns):
                column = footer.row_group(group).column(place)
                if column.path_in_schema.startswith("image."):
                    start = column.data_page_offset
                    content[start : start + column.total_compressed_size] = bytes(column.total_compressed_size)
        shard.write_bytes(content)


def test_class_counts_read_no_image_bytes(tiny_dataset: Dataset) -> None:
    erase_images(tiny_dataset.folders[0])
    erased = Dataset.open(tiny_dataset.folders[0])
    assert erased.class_counts().tolist() == [5, 3, 1]
    assert erased.labels.tolist() == [0] * 5 + [1] * 3 + [2]
    assert erased.num_rows == 9
    assert erased.class_names == ("cat", "größe M", "owl")
    with pytest.raises(OSError, match=r"(?i)thrift|page|deseriali"):
        next(erased.images())


def test_images_are_the_pixels_written(tiny_dataset: Dataset) -> None:
    expected = [picture(label, number) for label, count in enumerate((5, 3, 1)) for number in range(count)]
    np.testing.assert_array_equal(np.stack(list(tiny_dataset.images())), np.stack(expected))
    assert tiny_dataset.image_shape == (3, 12, 12)


def test_an_empty_data_set_is_one(tmp_path: Path) -> None:
    with ShardWriter(tmp_path / "empty", ("cat", "dog")):
        pass
    empty = Dataset.open(tmp_path / "empty")
    assert empty.class_names == ("cat", "dog")
    assert empty.num_rows == 0
    assert empty.class_counts().tolist() == [0, 0]
    assert list(empty.rows()) == list(empty.images()) == []
    with pytest.raises(UserError, match="empty: holds no image"):
        empty.image_shape  # noqa: B018


def test_real_augmented_and_synthetic_are_joined_in_the_order_given(tmp_path: Path) -> None:
    parts = [
        write_dataset(tmp_path / origin, {"cat": cats, "dog": 1}, origin=origin)
        for origin, cats in (("real", 3), ("augmented", 2), ("synthetic", 0))
    ]
    joined = Dataset.open(parts[0], parts[1:])
    assert joined.class_counts().tolist() == [5, 3]
    assert [row.origin for row in joined.rows()] == ["real"] * 4 + ["augmented"] * 3 + ["synthetic"]
    assert joined.frame(["origin"])["origin"].tolist() == [row.origin for row in joined.rows()]
    assert [len(batch) for batch in joined.batches(["id"], batch_rows=3)] == [3, 1, 3, 1]


def test_the_digest_tells_contents_apart_not_folders(tmp_path: Path) -> None:
    one, same = (write_dataset(tmp_path / name, {"cat": 3, "dog": 2}) for name in ("one", "same"))
    more = write_dataset(tmp_path / "more", {"cat": 3, "dog": 3})
    named = write_dataset(tmp_path / "named", {"cat": 3, "cow": 2})
    heavy = write_dataset(tmp_path / "heavy", {"cat": 3, "dog": 2}, weight=2.0)
    found = [Dataset.open(folder).digest for folder in (one, same, more, named, heavy)]
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_the_digest_does_not_depend_on_how_rows_are_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = write_dataset(tmp_path / "one", {"cat": 3, "dog": 4})
    several = write_dataset(tmp_path / "several", {"cat": 3, "dog": 4}, shard_bytes=1)
    monkeypatch.setattr(writer, "ROW_GROUP_ROWS", 2)
    grouped = write_dataset(tmp_path / "grouped", {"cat": 3, "dog": 4})
    found = [Dataset.open(folder) for folder in (one, several, grouped)]
    assert [len(dataset.shards) for dataset in found] == [1, 7, 1]
    assert [pq.read_metadata(dataset.shards[0]).num_row_groups for dataset in found] == [1, 1, 4]
    assert len({dataset.digest for dataset in found}) == 1
    monkeypatch.setattr(reader, "NUMBER_ROWS", 2)
    assert Dataset.open(one).digest == found[0].digest
    assert [Dataset.open(folder).labels.tolist() for folder in (one, several)] == [[0] * 3 + [1] * 4] * 2


def test_what_is_no_data_set_is_refused_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing: no data set here .*has its stage run\?"):
        Dataset.open(tmp_path / "missing")
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    pq.write_table(pa.table({"label": [1]}), foreign / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: is no shard of a data set"):
        Dataset.open(foreign)
    (foreign / "a.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(UserError, match=r"a\.parquet: is no shard of a data set"):
        Dataset.open(foreign)


def test_columns_that_an_earlier_version_did_not_write_are_empty(tmp_path: Path) -> None:
    write_dataset(tmp_path / "old", {"a": 3})
    (shard,) = Dataset.open(tmp_path / "old").shards
    pq.write_table(pq.read_table(shard).drop_columns(["source_width", "group"]), shard)
    write_dataset(tmp_path / "new", {"a": 2})
    for folders, number in ((["old"], 3), (["old", "new"], 5), (["new", "old"], 5)):
        table = Dataset.open(*(tmp_path / name for name in folders)).frame(["group", "label", "source_width"])
        assert list(table) == ["group", "label", "source_width"]
        assert len(table) == number
        assert table["group"].isna().all()
        assert table["source_width"].isna().all()
    assert len(list(Dataset.open(tmp_path / "old").rows())) == 3


def test_different_classes_cannot_be_joined(tmp_path: Path) -> None:
    one, two = write_dataset(tmp_path / "one", {"cat": 1}), write_dataset(tmp_path / "two", {"dog": 1})
    with pytest.raises(UserError, match=r"different classes cannot be joined: .*one.*\(cat\) and .*two.*\(dog\)"):
        Dataset.open(one, two)


def test_shards_follow_their_names(tmp_path: Path) -> None:
    for prefix, path in (("00001", "late"), ("00000", "early")):
        with ShardWriter(tmp_path, ("cat",), prefix=prefix) as writer:
            writer.add(rows({"cat": 1})[0].__class__(**{**vars(rows({"cat": 1})[0]), "path": path}))
    assert [row.path for row in Dataset.open(tmp_path).rows()] == ["early", "late"]
