"""Images in Parquet the way Hugging Face `datasets` stores them: one file, or a folder of shards.

The image is a column {bytes, path}, the class a `ClassLabel`, text or a number. The split is what a column `split`
says, else the shard's name (train-00000-of-00002.parquet), else its folder's. Our own data sets are of this kind.
"""

from bisect import bisect_right
from collections.abc import Iterator
from functools import partial
from itertools import accumulate, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.sources import SourceFile, _parquet
from pipeline.sources._columns import NAMES, Roles, facts, roles
from pipeline.sources._named import MAX_FILE_BYTES
from pipeline.sources._shards import has_shards, shards, splits_of
from pipeline.sources._tables import rows

_SUFFIXES = (".parquet",)


def accepts(source: str) -> bool:
    """True for a Parquet file with a column of images, and for a folder of shards that has no class folders."""
    path = Path(source)
    return (path.is_file() and _parquet.holds_images(path)) or has_shards(source, _SUFFIXES)


def files(source: str) -> Iterator[SourceFile]:
    """The images, shard by shard; each is named by its shard and row.

    Raises:
        UserError: a shard is damaged, lacks a column, or a row is wrong; says which.
    """
    path = Path(source)
    root = path if path.is_dir() else path.parent
    found = shards(root, _SUFFIXES) if path.is_dir() else [path]
    for shard, split in splits_of(root, found).items():
        yield from _shard_files(shard, shard.relative_to(root).as_posix(), split)


def _shard_files(shard: Path, name: str, split: Split | None) -> Iterator[SourceFile]:
    with _parquet.told(shard):
        arrow = pq.read_schema(shard)
    image, meaning = _image_column(shard, arrow), _roles(shard, arrow)
    wanted = {meaning.label, meaning.split, meaning.group, meaning.box, meaning.origin, *(meaning.edges or ())}
    images = _Images(shard, image)
    try:
        for number, (where, row) in enumerate(rows(shard, wanted.__contains__)):
            said = facts(where, row, meaning)
            yield SourceFile(
                name=f"{name}/{number:07d}",
                label=said.label,
                split=said.split or split,
                group=said.group,
                box=said.box,
                read=partial(images.read, number),
                listed=True,
            )
    finally:
        images.close()


def _image_column(shard: Path, arrow: pa.Schema) -> str:
    found = _parquet.image_columns(arrow)
    named = [name for name in NAMES["path"] if name in found]
    if len(found) == 1 or named:
        return (named or found)[0]
    has = ", ".join(map(repr, arrow.names))[:300] or "none"
    raise UserError(f"{shard}: expected one column of images, a struct {{bytes, path}}; has the columns {has}")


def _roles(shard: Path, arrow: pa.Schema) -> Roles:
    """What the columns say; the class is the only `ClassLabel` if no column is named for it."""
    images = _parquet.image_columns(arrow)
    names = tuple(name for name in arrow.names if name not in images)
    found = roles(str(shard), names, needs=())
    class_labels = [name for name in names if _parquet.class_label_names(arrow, name)]
    if found.label is None and len(class_labels) == 1:
        return found._replace(label=class_labels[0])
    return roles(str(shard), names, needs=("label",))


class _Images:
    """Reads a shard's images forwards, one at a time, since one may be large; going back starts a row group anew."""

    def __init__(self, shard: Path, column: str) -> None:
        self._shard, self._column = shard, f"{column}.bytes"
        self._file: pq.ParquetFile | None = None
        self._ends: list[int] = []
        self._coming: Iterator[bytes | None] = iter(())
        self._next = self._end = 0  # the rows that are still coming
        self._last: tuple[int, bytes] = (-1, b"")

    def read(self, number: int) -> bytes:
        """The image file in row `number`, counted from 0; nothing where the row holds none.

        Raises:
            OSError: that part of the shard is damaged, or the image is too large.
        """
        if number == self._last[0]:
            return self._last[1]
        try:
            if not self._next <= number < self._end:
                self._open_group(number)
            data = next(islice(self._coming, number - self._next, None)) or b""
        except (pa.ArrowException, ValueError, StopIteration) as error:
            self._end = 0
            raise OSError(f"{self._shard.name}: row {number + 1} cannot be read ({error})") from None
        self._next = number + 1
        if len(data) > MAX_FILE_BYTES:
            raise OSError(f"{self._shard.name}: row {number + 1} has {len(data)} bytes, more than {MAX_FILE_BYTES}")
        self._last = (number, data)
        return data

    def close(self) -> None:
        """Closes the shard."""
        if self._file is not None:
            self._file.close()
        self._file, self._end = None, 0

    def _open_group(self, number: int) -> None:
        if self._file is None:
            self._file = pq.ParquetFile(self._shard, pre_buffer=False, buffer_size=2**20)
            groups = range(self._file.metadata.num_row_groups)
            self._ends = list(accumulate(self._file.metadata.row_group(group).num_rows for group in groups))
        group = bisect_right(self._ends, number)
        batches = self._file.iter_batches(1, row_groups=[group], columns=[self._column])
        self._coming = (value.as_py() for batch in batches for value in batch.column(0).field("bytes"))
        self._next, self._end = self._ends[group - 1] if group else 0, self._ends[group]
