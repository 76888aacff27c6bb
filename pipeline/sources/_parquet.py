"""What Parquet files of others hold: errors in one line, Hugging Face's features, values read in bounded batches."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UserError

BATCH_ROWS = 1000
MAX_VALUES_A_ROW = 8  # of a list; a box has four


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Turns what pyarrow says of a damaged file into one line."""
    try:
        yield
    except UserError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        why = "".join(sign if sign.isprintable() else " " for sign in str(error))
        raise UserError(f"{path}: is no Parquet file that can be read ({' '.join(why.split())[:120]})") from None


@contextmanager
def opened(path: Path, compact: tuple[str, ...] = ()) -> Iterator[pq.ParquetFile]:
    """Opens a file to be streamed; of the columns `compact` a value that repeats is held in memory once."""
    with pq.ParquetFile(path, read_dictionary=list(compact), pre_buffer=False, buffer_size=2**20) as file:
        yield file


@contextmanager
def value_columns(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[pq.ParquetFile, list[str]]]:
    """Opens a file and names its `wanted` columns of text, numbers and short lists of numbers."""
    arrow = pq.read_schema(path)
    text = tuple(field.name for field in arrow if _is_text(field.type))
    names = [field.name for field in arrow if wanted(field.name) and _is_value(field.type)]
    lists = [name for name in names if _is_list(arrow.field(name).type)]
    if lists:
        _refuse_long_lists(path, lists)
    with opened(path, text) as file:
        yield file, names


def class_label_names(arrow: pa.Schema, column: str) -> tuple[str, ...]:
    """The names of a Hugging Face `ClassLabel` column, which the file's metadata holds; none for another column."""
    try:
        feature = json.loads(arrow.metadata[b"huggingface"])["info"]["features"][column]
        names = feature["names"] if feature["_type"] == "ClassLabel" else ()
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(name, str) for name in names) else ()


def image_columns(arrow: pa.Schema) -> list[str]:
    """Names of the columns that hold images the way Hugging Face `datasets` stores them: {bytes, path}."""
    return [field.name for field in arrow if pa.types.is_struct(field.type) and _has_bytes(field.type)]


def holds_images(path: Path) -> bool:
    """Whether a file is a Parquet that can be read and holds images."""
    if path.suffix.lower() != ".parquet":
        return False
    try:
        return bool(image_columns(pq.read_schema(path)))
    except (pa.ArrowException, OSError, ValueError):
        return False


def _has_bytes(struct: pa.StructType) -> bool:
    inside = {field.name: field.type for field in struct}
    return "bytes" in inside and (pa.types.is_binary(inside["bytes"]) or pa.types.is_large_binary(inside["bytes"]))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_value(kind: pa.DataType) -> bool:
    if _is_list(kind):
        return _is_number(kind.value_type)
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return _is_text(kind) or _is_number(kind)


def _refuse_long_lists(path: Path, names: list[str]) -> None:
    """Counts values before they are read, in a process of its own, since pyarrow aborts at some damaged footers."""
    done = subprocess.run(
        [sys.executable, "-c", _COUNT, str(path), *names], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise UserError(f"{path}: is no Parquet file that can be read (its footer is damaged)")
    for name, num_values, num_rows in map(str.split, done.stdout.splitlines()):
        if int(num_values) > MAX_VALUES_A_ROW * max(1, int(num_rows)):
            column = names[int(name)]
            raise UserError(f"{path}: column {column!r} holds {num_values} values in {num_rows} rows")


_COUNT = """
import sys, pyarrow.parquet as pq
path, *names = sys.argv[1:]
metadata = pq.read_metadata(path)
for group in map(metadata.row_group, range(metadata.num_row_groups)):
    for column in map(group.column, range(group.num_columns)):
        name = column.path_in_schema.partition(".")[0]
        if name in names:
            print(names.index(name), column.num_values, group.num_rows)
"""
