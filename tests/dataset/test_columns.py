from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.dataset import Records, columns, read_codes, read_rows


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Seven rows in row groups of three."""
    text = ["x", None, "ß", "x", "y", None, "ß"]
    content = pa.table({"text": text, "none": pa.nulls(7, pa.string()), "number": range(7)})
    pq.write_table(content, tmp_path / "table.parquet", row_group_size=3)
    return tmp_path / "table.parquet"


def test_equal_texts_are_held_once(table: Path) -> None:
    found = read_codes(table, "text", 7)
    assert found.texts == ("x", "ß", "y")
    assert found.numbers.tolist() == [0, -1, 1, 0, 2, -1, 1]
    assert found.numbers.dtype == np.int8
    empty = read_codes(table, "none", 7)
    assert (empty.texts, empty.numbers.tolist()) == ((), [-1] * 7)


def test_many_texts_need_larger_numbers(tmp_path: Path) -> None:
    for count, kind in ((128, np.int8), (129, np.int16), (33_000, np.int32)):
        pq.write_table(pa.table({"text": [str(number) for number in range(count)]}), tmp_path / "many.parquet")
        found = read_codes(tmp_path / "many.parquet", "text", count)
        assert (found.numbers.dtype, found.numbers.tolist()) == (kind, list(range(count)))


def test_single_rows_are_read_from_the_row_groups_that_hold_them(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = []
    read = pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        columns.pq.ParquetFile,
        "read_row_group",
        lambda self, group, *rest: groups.append(group) or read(self, group, *rest),
    )
    assert list(read_rows(table, ("number", "text"), np.array([1, 2, 6]))) == [
        {"number": 1, "text": None},
        {"number": 2, "text": "ß"},
        {"number": 6, "text": "ß"},
    ]
    assert groups == [0, 2]
    assert list(read_rows(table, ("number",), np.array([], np.int64))) == []


def test_records_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK_ROWS", 2)
    kind = np.dtype([("a", "u1", 3), ("b", "<u8")])
    written = np.zeros(5, kind)
    written["a"], written["b"] = np.arange(15).reshape(5, 3), np.arange(5, dtype=np.uint64) + 2**63
    (tmp_path / "records").write_bytes(written.tobytes())
    records = Records(tmp_path / "records", kind)
    assert len(records) == 5
    assert [len(block) for block in records.blocks()] == [2, 2, 1]
    assert np.concatenate(list(records.blocks())).tobytes() == written.tobytes()
    assert records.take(np.array([4, 0, 4])).tobytes() == written[[4, 0, 4]].tobytes()
    assert len(records.take(np.array([], np.int64))) == 0
