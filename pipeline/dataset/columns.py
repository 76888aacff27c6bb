"""Facts about many images on disk, read no further than needed: texts that repeat, single rows, records of one size."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

BLOCK_ROWS = 1000


@dataclass(frozen=True, eq=False)
class Codes:
    """A column of texts, equal ones held once.

    Attributes:
        numbers: int8 or larger [N], each row's place in `texts`, -1 for none.
    """

    numbers: npt.NDArray[np.signedinteger[Any]]
    texts: tuple[str, ...]


def read_codes(path: Path, column: str, num_rows: int) -> Codes:
    """A column of texts of a Parquet file."""
    numbers, known = np.empty(num_rows, np.int32), dict[str, int]()
    row = 0
    with pq.ParquetFile(path, read_dictionary=[column], pre_buffer=False) as file:
        for batch in file.iter_batches(BLOCK_ROWS, columns=[column]):
            texts = batch.column(0).dictionary.to_pylist()
            code_of = np.array([*(known.setdefault(text, len(known)) for text in texts), -1], np.int32)
            numbers[row : row + len(batch)] = code_of[batch.column(0).indices.fill_null(len(texts)).to_numpy()]
            row += len(batch)
    assert row == num_rows, f"{path}: {row} rows, expected {num_rows}"
    return Codes(numbers.astype(smallest(len(known)), copy=False), tuple(known))


def smallest(count: int) -> np.dtype[np.signedinteger[Any]]:
    """The type that the numbers from -1 to `count` - 1 fit into."""
    return np.dtype(np.min_scalar_type(-max(1, count)))


def read_rows(path: Path, columns: Sequence[str], rows: npt.NDArray[np.int64]) -> Iterator[dict[str, Any]]:
    """Some rows of a Parquet file, ascending."""
    start = 0
    with pq.ParquetFile(path, pre_buffer=False) as file:
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            inside = rows[np.searchsorted(rows, start) : np.searchsorted(rows, end)] - start
            if len(inside):
                yield from file.read_row_group(group, list(columns)).take(inside).to_pylist()
            start = end


@dataclass(frozen=True)
class Records:
    """A file of records of one size."""

    path: Path
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.path.stat().st_size // self.dtype.itemsize

    def blocks(self) -> Iterator[npt.NDArray[Any]]:
        """All records in order, some of them at a time."""
        with self.path.open("rb") as file:
            while len(block := np.fromfile(file, self.dtype, BLOCK_ROWS)):
                yield block

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """The records of some rows, read one by one: mapped into memory the whole file would count as used."""
        size = self.dtype.itemsize
        with self.path.open("rb", buffering=0) as file:
            parts = [os.pread(file.fileno(), size, int(row) * size) for row in rows]
        return np.frombuffer(b"".join(parts), self.dtype)
