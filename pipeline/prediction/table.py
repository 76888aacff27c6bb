"""Answers as a table, written as they come: CSV, Parquet or JSON lines by the file's name; `-` prints CSV."""

import csv
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.atomic import new_file
from pipeline.errors import UserError

STDOUT = "-"
Row = dict[str, str | float | None]
Write = Callable[[Sequence[Row]], None]


def columns(top: int) -> tuple[str, ...]:
    """Names of the columns: of each image's `top` likeliest classes the first is its class."""
    likely = [f"{name}{'' if place == 1 else f'_{place}'}" for place in range(1, top + 1) for name in _EACH]
    return ("path", *likely, "problem")


_EACH = ("class", "probability")


@contextmanager
def writing(out: str, names: Sequence[str]) -> Iterator[Write]:
    """Yields a function that appends rows; the file appears when all are written.

    Raises:
        UserError: the name says no format, or is a folder's.
    """
    if out == STDOUT:
        with _csv(sys.stdout, names) as write:
            yield write
        return
    path = Path(out)
    if path.suffix not in _FORMATS or path.is_dir():
        fault = "is a folder" if path.is_dir() else "has no known ending"
        raise UserError(f"--out {out}: {fault}; expected a file {', '.join(f'NAME{end}' for end in _FORMATS)} or -")
    with new_file(path) as temporary, _FORMATS[path.suffix](temporary, names) as write:
        yield write


@contextmanager
def _csv_file(path: Path, names: Sequence[str]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file, _csv(file, names) as write:
        yield write


@contextmanager
def _csv(file: IO[str], names: Sequence[str]) -> Iterator[Write]:
    table = csv.DictWriter(file, names, lineterminator="\n")
    table.writeheader()
    yield table.writerows
    file.flush()


@contextmanager
def _json_lines(path: Path, names: Sequence[str]) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda rows: file.writelines(
            json.dumps({name: row.get(name) for name in names}, ensure_ascii=False) + "\n" for row in rows
        )


@contextmanager
def _parquet(path: Path, names: Sequence[str]) -> Iterator[Write]:
    kinds = {name: pa.float64() if name.startswith("probability") else pa.string() for name in names}
    schema = pa.schema(list(kinds.items()))
    with pq.ParquetWriter(path, schema) as file:
        yield lambda rows: file.write_table(pa.Table.from_pylist(list(rows), schema))


_FORMATS: dict[str, Callable[[Path, Sequence[str]], AbstractContextManager[Write]]] = {
    ".csv": _csv_file,
    ".parquet": _parquet,
    ".jsonl": _json_lines,
}
