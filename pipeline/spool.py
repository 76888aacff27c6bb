"""What the files of a batch became: every one validated, in one shape, or refused with a reason.

Reading and decoding is nearly all the work of `ingest`, and a batch that is pinned never changes. So the outcome is
kept in the cache, under a name made from the pin, the shape and the code, and a later night decodes the new batch only.
"""

import hashlib
import json
import shutil
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, astuple, dataclass
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import code, intake, source_lock, sources
from pipeline.atomic import new_folder, write_json
from pipeline.dataset import Codes, Dataset, Records, Row, ShardWriter, read_codes, read_rows
from pipeline.dataset.cache import cache_folder
from pipeline.dataset.columns import BLOCK_ROWS
from pipeline.dataset.writer import ROW_GROUP_ROWS
from pipeline.images import Shape
from pipeline.intake import Refused
from pipeline.near_duplicates import THUMBNAIL_SIDE, Indices, perceptual_hash, thumbnail
from pipeline.progress import bar
from pipeline.sources import SourceFile

CODE = ("decoding", "dataset", "images.py", "intake.py", "near_duplicates.py", "spool.py")
LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg")
KEPT_S = 30 * 24 * 3600.0
TOLD = pa.schema(
    [(name, pa.string()) for name in ("name", "label", "hint", "group", "sha256")] + [("bytes", pa.int64())]
)
TABLE_BLOCKS = 10  # blocks of rows a row group of the table
HASHES = np.dtype([("pixels", "u1", 32), ("picture", "<u8")])  # sha256; perceptual hash, 0 for none
THUMBNAIL = np.dtype(("u1", (THUMBNAIL_SIDE, THUMBNAIL_SIDE)))
PENDING_BYTES, MOST_AT_ONCE = 128 * 2**20, 64  # of batches that are built in one pass over the source


@dataclass(frozen=True)
class Spool:
    """One batch on disk; of its images nothing is read before it is asked for.

    Attributes:
        labels: names of the batch's classes, in the order in which its shards number them.
        refused: the files that can't be used.
    """

    folder: Path
    labels: tuple[str, ...]
    refused: tuple[Refused, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of all classes that the batch's files are of, usable or not, sorted."""
        return tuple(sorted(self.labels))

    @property
    def hashes(self) -> Records:
        """Of each usable image the sha256 of its pixels, and its perceptual hash."""
        return Records(self.folder / "files" / "hashes", HASHES)

    @property
    def thumbnails(self) -> Records:
        """Grey miniatures of the usable images, uint8 [side, side] each."""
        return Records(self.folder / "files" / "thumbnails", THUMBNAIL)

    def codes(self, column: Literal["label", "hint", "group"]) -> Codes:
        """What the source says of each usable image: its class, its split, or its group."""
        return read_codes(self.folder / "files" / "files.parquet", column, len(self.hashes))

    def told(self, rows: Indices) -> Iterator[dict[str, Any]]:
        """Name, sha256 and bytes of the files of some rows, ascending."""
        return read_rows(self.folder / "files" / "files.parquet", ("name", "sha256", "bytes"), rows)

    def rows(self, names: tuple[str, ...]) -> Iterator[Row]:
        """The usable images in order; `label` counts within `names`, the classes of all batches."""
        return Dataset.open(self.folder).rows([names.index(name) for name in self.labels])


def take(spools: list[tuple[int, Spool]], what: Literal["hashes", "thumbnails"], rows: Indices) -> npt.NDArray[Any]:
    """Records of some rows of several batches, counted on from batch to batch.

    Args:
        spools: the batches, and with each the number of its first row.
    """
    number_of = np.searchsorted([start for start, _ in spools], rows, side="right") - 1
    out = np.empty(len(rows), HASHES if what == "hashes" else THUMBNAIL)
    for number in np.unique(number_of):
        start, spool = spools[number]
        chosen = number_of == number
        out[chosen] = getattr(spool, what).take(rows[chosen] - start)
    return out


def settle_shape(
    pin: source_lock.Pin, size: int | Literal["auto"], channels: int | Literal["auto"], how: Literal["crop", "pad"]
) -> Shape:
    """The shape that all images of a source are brought to; what is "auto" is settled by the first batch, for good."""
    if not pin.batches or (size != "auto" and channels != "auto"):
        return intake.measure(pin, size, channels, how)
    path = cache_folder() / "shapes" / f"{_key(pin.batches[0].digest, size, channels, how)}.json"
    if not path.exists():
        write_json(path, asdict(intake.measure(pin, size, channels, how)))
    return Shape(**json.loads(path.read_text(encoding="utf-8")))


def class_names(spools: Iterable[Spool]) -> tuple[str, ...]:
    """The classes in the order of the batch that they first appear in, by name within a batch."""
    return tuple(dict.fromkeys(name for spool in spools for name in spool.classes))


def obtain_all(pin: source_lock.Pin, shape: Shape, label: str) -> list[Spool]:
    """All batches of a source, from the cache or built now, with a progress bar.

    Raises:
        UserError: the source no longer holds what is pinned.
    """
    folders = [cache_folder() / "batches" / _key(batch.digest, *astuple(shape)) for batch in pin.batches]
    missing = [number for number, folder in enumerate(folders) if not (folder / "files" / "meta.json").exists()]
    files = [batch.files for batch in pin.batches]
    with bar(label, sum(files), "image", done=sum(files) - sum(files[number] for number in missing)) as shown:
        for numbers in _passes(pin, missing, shape):
            _build({number: folders[number] for number in numbers}, pin, shape, shown)
    return [_open(folder) for folder in folders]


def forget_unused(now: float | None = None) -> None:
    """Removes what no run has used for 30 days."""
    for meta in (cache_folder() / "batches").glob("*/files/meta.json"):
        if (time.time() if now is None else now) - meta.stat().st_mtime > KEPT_S:
            shutil.rmtree(meta.parents[1], ignore_errors=True)


def _key(*parts: object) -> str:
    return hashlib.sha256(repr((parts, code.digest(CODE), _libraries())).encode()).hexdigest()[:32]


@cache
def _libraries() -> list[str]:
    """Versions of what decodes and encodes."""
    return [version(library) for library in LIBRARIES]


def _open(folder: Path) -> Spool:
    path = folder / "files" / "meta.json"
    path.touch()
    meta = json.loads(path.read_text(encoding="utf-8"))
    return Spool(folder, tuple(meta["labels"]), tuple(Refused(**entry) for entry in meta["refused"]))


def _passes(pin: source_lock.Pin, missing: list[int], shape: Shape) -> list[list[int]]:
    """Batches to be built in one pass over the source: as many as may wait in memory for their row groups to fill."""
    passes: list[list[int]] = []
    left = 0
    for number in missing:
        needs = min(pin.batches[number].files, ROW_GROUP_ROWS) * shape.size**2 * shape.channels
        if not passes or needs > left or len(passes[-1]) >= MOST_AT_ONCE:
            passes.append([])
            left = PENDING_BYTES
        passes[-1].append(number)
        left -= needs
    return passes


def _build(folders: dict[int, Path], pin: source_lock.Pin, shape: Shape, shown: Any) -> None:
    """Builds batches into their folders in one pass over the source."""
    with ExitStack() as stack:
        temporary = {number: stack.enter_context(new_folder(folder)) for number, folder in folders.items()}
        inner = stack.enter_context(ExitStack())
        writers = {number: inner.enter_context(_SpoolWriter(folder, shape)) for number, folder in temporary.items()}
        for number, file, data in source_lock.pinned(pin, writers, sources.files(pin.source)):
            writers[number].add(file, data)
            shown.update()


class _SpoolWriter:
    """Writes one batch, file by file; classes are numbered as they come."""

    def __init__(self, folder: Path, shape: Shape) -> None:
        self._beside, self._shape = folder / "files", shape
        self._labels: defaultdict[str, int] = defaultdict(count().__next__)
        self._refused: list[Refused] = []
        self._rows: list[dict[str, Any]] = []
        self._blocks: list[pa.RecordBatch] = []
        self._beside.mkdir()
        self._opened = ExitStack()
        self._shards = self._opened.enter_context(ShardWriter(folder, ()))
        table = pq.ParquetWriter(self._beside / "files.parquet", TOLD, compression="zstd")
        self._table = self._opened.enter_context(table)
        self._hashes = self._opened.enter_context((self._beside / "hashes").open("wb"))
        self._thumbnails = self._opened.enter_context((self._beside / "thumbnails").open("wb"))

    def __enter__(self) -> "_SpoolWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if kind is None:
            self._end_block(is_last=True)
            meta = {"labels": list(self._labels), "refused": [asdict(entry) for entry in self._refused]}
            write_json(self._beside / "meta.json", meta)
        self._opened.__exit__(kind, error, trace)

    def add(self, file: SourceFile, data: bytes) -> None:
        """Takes in one file, usable or not."""
        self._labels[file.label]  # numbers the class, which is one even if none of its files can be used
        (item,) = intake.accept([(file, data)], self._shape, self._labels)
        if isinstance(item, Refused):
            self._refused.append(item)
            return
        small = thumbnail(item.pixels)
        self._shards.add(item.row)
        self._thumbnails.write(small.tobytes())
        self._hashes.write(bytes.fromhex(item.row.pixel_hash) + (perceptual_hash(small) or 0).to_bytes(8, "little"))
        self._rows.append(item.told())
        if len(self._rows) >= BLOCK_ROWS:
            self._end_block()

    def _end_block(self, *, is_last: bool = False) -> None:
        self._blocks.append(pa.RecordBatch.from_pylist(self._rows, schema=TOLD))
        self._rows = []
        if is_last or len(self._blocks) >= TABLE_BLOCKS:
            self._table.write_table(pa.Table.from_batches(self._blocks))
            self._blocks = []
