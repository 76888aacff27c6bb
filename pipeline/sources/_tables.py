"""Rows of a CSV, TSV, JSON-lines or Parquet file, whatever the file's size.

In memory is one row, and of a Parquet the text of one row group.
"""

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError
from pipeline.sources._parquet import BATCH_ROWS, class_label_names, told, value_columns

MAX_ROW_CHARS = 2**20
MAX_ROWS = 20_000_000
SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
Values = dict[str, Any]


def rows(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Values]]:
    """Yields where each row stands ("FILE: row 7") and its values by column; of a Parquet the `wanted` columns only.

    A CSV's rows are counted as a spreadsheet does (the header is row 1), those of JSON lines and Parquet from 1.

    Raises:
        UserError: the file cannot be read, or a row is damaged or absurdly long.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        found = _parquet(path, wanted)
    else:
        found = _csv(path) if suffix in (".csv", ".tsv") else _json_lines(path)
    for count, (number, values) in enumerate(found):
        if count >= MAX_ROWS:
            raise UserError(f"{path}: has more than {MAX_ROWS} rows")
        yield f"{path}: row {number}", values


def columns(path: Path) -> list[str]:
    """Names of the columns: a CSV's header, a Parquet's schema, the keys of a JSON-lines file's first row.

    Raises:
        UserError: the file cannot be read.
    """
    if path.suffix.lower() == ".parquet":
        with told(path):
            return list(pq.read_schema(path).names)
    if path.suffix.lower() in (".csv", ".tsv"):
        with path.open(encoding="utf-8-sig", newline="") as file:
            return _header(path, _Lines(path, file))[0]
    return list(next(_json_lines(path), (1, {}))[1])


def json_object(where: str, text: str) -> Values:
    """A JSON object.

    Raises:
        UserError: it is none; says where.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{where} is no JSON ({str(error)[:100]})") from None
    if not isinstance(values, dict):
        raise UserError(f'{where} is no JSON object such as {{"path": "a/1.png", "label": "a"}}')
    return values


class _Lines:
    """Lines of a text file; a row made of them may have at most `MAX_ROW_CHARS`."""

    def __init__(self, path: Path, file: IO[str]) -> None:
        self._path, self._file = path, file
        self.row, self._chars = 1, 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        try:
            line = self._file.readline(MAX_ROW_CHARS + 1)
        except UnicodeDecodeError:
            raise UserError(
                f"{self._path}: row {self.row} or one soon after it is no UTF-8; save it as UTF-8"
            ) from None
        self._chars += len(line)
        if self._chars > MAX_ROW_CHARS:
            raise UserError(f"{self._path}: row {self.row} has more than {MAX_ROW_CHARS} characters")
        if not line:
            raise StopIteration
        return line

    def next_row(self) -> None:
        """Counts a row."""
        self.row, self._chars = self.row + 1, 0


def _csv(path: Path) -> Iterator[tuple[int, Values]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = _Lines(path, file)
        header, delimiter = _header(path, lines)
        table = csv.reader(lines, delimiter=delimiter, strict=True)
        while (cells := _cells(path, table, lines)) is not None:
            if cells and len(cells) != len(header):
                raise UserError(f"{path}: row {lines.row} has {len(cells)} cells, but the header {len(header)}")
            if cells:
                yield lines.row, dict(zip(header, cells, strict=True))
            lines.next_row()


def _header(path: Path, lines: _Lines) -> tuple[list[str], str]:
    """The names in a CSV's first line, and the sign between them: in a TSV a tab, else whichever it holds most of."""
    first = next(lines, "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)
    names = _cells(path, csv.reader([first], delimiter=delimiter, strict=True), lines) or []
    twice = next((name for name, count in Counter(names).items() if name and count > 1), None)
    if twice is not None:
        raise UserError(f"{path}: has more than one column {twice!r}")
    lines.next_row()
    return names, delimiter


def _cells(path: Path, table: Iterator[list[str]], lines: _Lines) -> list[str] | None:
    try:
        return next(table, None)
    except csv.Error as error:
        raise UserError(f"{path}: row {lines.row} is damaged ({error})") from None


def _json_lines(path: Path) -> Iterator[tuple[int, Values]]:
    with path.open(encoding="utf-8-sig") as file:
        lines = _Lines(path, file)
        for line in lines:
            if line.strip():
                yield lines.row, json_object(f"{path}: row {lines.row}", line)
            lines.next_row()


def _parquet(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[int, Values]]:
    """Rows of a Parquet file; a Hugging Face class label as its name."""
    with told(path), value_columns(path, wanted) as (file, names):
        labels = {name: class_label_names(file.schema_arrow, name) for name in names}
        number = 0
        for batch in file.iter_batches(BATCH_ROWS, columns=names):
            columns = {name: _decoded(batch.column(name), labels[name]) for name in batch.schema.names}
            for row in range(batch.num_rows):
                number += 1
                yield number, {name: column[row].as_py() for name, column in columns.items()}


def _decoded(column: pa.Array, names: tuple[str, ...]) -> pa.Array:
    """Labels as names; those out of range, such as Hugging Face's -1 for "no label", are none."""
    if not names or not pa.types.is_integer(column.type):
        return column
    values = column.to_pylist()
    return pa.array([names[value] if value is not None and 0 <= value < len(names) else None for value in values])
