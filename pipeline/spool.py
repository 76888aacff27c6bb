"""What the files of a batch became: every one validated, in one shape, or refused with a reason.

Reading and decoding is nearly all the work of `ingest`, and a batch that is pinned never changes. So the outcome is
kept in the cache, under a name made from the pin, the shape and the code, and a later night decodes the new batch only.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, astuple, dataclass, replace
from functools import cache, cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import intake, source_lock, sources
from pipeline.atomic import new_folder, write_json
from pipeline.dataset import Dataset, Row, ShardWriter
from pipeline.dataset.cache import cache_folder
from pipeline.intake import Refused, Shape
from pipeline.near_duplicates import THUMBNAIL_SIDE, thumbnail
from pipeline.progress import bar

CODE = ("decoding", "dataset", "images.py", "intake.py", "near_duplicates.py", "spool.py")
LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "pyarrow", "simplejpeg")
KEPT_S = 30 * 24 * 3600.0
FILES = pa.schema(
    [
        ("name", pa.string()),
        ("label", pa.string()),
        ("hint", pa.string()),
        ("group", pa.string()),
        ("pixel_hash", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
    ]
)
BLOCK_ROWS = 1000


@dataclass(frozen=True)
class Spool:
    """One batch on disk.

    Attributes:
        classes: names of all classes that the batch's files are of, usable or not, sorted.
        refused: the files that can't be used.
    """

    folder: Path
    classes: tuple[str, ...]
    refused: tuple[Refused, ...]

    @cached_property
    def files(self) -> pa.Table:
        """Of each usable image: name, label, hint (the source's own split), group, pixel_hash, sha256, bytes."""
        return pq.read_table(self.folder / "files" / "files.parquet")

    @cached_property
    def thumbnails(self) -> npt.NDArray[np.uint8]:
        """Grey miniatures of the usable images, uint8 [N, side, side], memory-mapped."""
        size = (len(self.files), THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        if not len(self.files):
            return np.empty(size, np.uint8)
        return np.memmap(self.folder / "files" / "thumbnails", np.uint8, mode="r", shape=size)

    def rows(self, names: tuple[str, ...]) -> Iterator[Row]:
        """The usable images in order; `label` counts within `names`, the classes of all batches."""
        label_of = [names.index(name) for name in self.classes]
        for row in Dataset.open(self.folder).rows() if len(self.files) else ():
            yield replace(row, label=label_of[row.label])


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
    """All batches of a source, with a progress bar.

    Raises:
        UserError: the source no longer holds what is pinned.
    """
    with bar(label, sum(batch.files for batch in pin.batches), "image") as shown:
        return [obtain(pin, number, shape, shown) for number in range(len(pin.batches))]


def obtain(pin: source_lock.Pin, number: int, shape: Shape, shown: Any) -> Spool:
    """The batch `number` of a source, from the cache or built now.

    Args:
        shown: a progress bar, told of every file.

    Raises:
        UserError: the source no longer holds what is pinned.
    """
    batch = pin.batches[number]
    folder = cache_folder() / "batches" / _key(batch.digest, *astuple(shape))
    if (folder / "files" / "meta.json").exists():
        shown.update(batch.files)
    else:
        with new_folder(folder) as temporary:
            _build(temporary, pin, number, shape, shown)
    (folder / "files" / "meta.json").touch()
    meta = json.loads((folder / "files" / "meta.json").read_text(encoding="utf-8"))
    return Spool(folder, tuple(meta["classes"]), tuple(Refused(**entry) for entry in meta["refused"]))


def forget_unused(now: float | None = None) -> None:
    """Removes what no run has used for 30 days."""
    for meta in (cache_folder() / "batches").glob("*/files/meta.json"):
        if (time.time() if now is None else now) - meta.stat().st_mtime > KEPT_S:
            shutil.rmtree(meta.parents[1], ignore_errors=True)


def _key(*parts: object) -> str:
    return hashlib.sha256(repr((parts, _code())).encode()).hexdigest()[:32]


@cache
def _code() -> str:
    """Digest of all code that what is cached depends on."""
    total = hashlib.sha256()
    root = Path(__file__).parent
    for name in CODE:
        found = sorted((root / name).rglob("*.py")) if (root / name).is_dir() else [root / name]
        for path in found:
            total.update(path.read_bytes())
    total.update(repr([version(library) for library in LIBRARIES]).encode())
    return total.hexdigest()


def _build(folder: Path, pin: source_lock.Pin, number: int, shape: Shape, shown: Any) -> None:
    """Two passes over the names, one over the bytes."""
    classes = sorted({file.label for file in sources.files(pin.source) if pin.batch_of(file.name) == number})
    labels = {name: label for label, name in enumerate(classes)}
    beside = folder / "files"
    beside.mkdir()
    refused = []
    files = source_lock.pinned(pin, number, sources.files(pin.source))
    with (
        ShardWriter(folder, tuple(classes)) as shards,
        pq.ParquetWriter(beside / "files.parquet", FILES, compression="zstd") as table,
        (beside / "thumbnails").open("wb") as thumbnails,
    ):
        block: list[dict[str, Any]] = []
        for item in intake.accept(files, shape, labels):
            shown.update()
            if isinstance(item, Refused):
                refused.append(item)
                continue
            shards.add(item.row)
            thumbnails.write(thumbnail(item.pixels).tobytes())
            block.append(item.told())
            if len(block) >= BLOCK_ROWS:
                table.write_batch(pa.RecordBatch.from_pylist(block, schema=FILES))
                block = []
        table.write_batch(pa.RecordBatch.from_pylist(block, schema=FILES))
    write_json(beside / "meta.json", {"classes": classes, "refused": [asdict(entry) for entry in refused]})
