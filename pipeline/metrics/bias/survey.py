"""One pass over all images: the properties of each go to Parquet, small copies of some stay in memory.

Memory holds one batch of images and the copies, however large the data set.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from threadpoolctl import threadpool_limits

from pipeline.dataset import Dataset
from pipeline.engine import run_jobs
from pipeline.images import decode_png
from pipeline.metrics.bias import properties

Ints = npt.NDArray[np.int64]
Images = npt.NDArray[np.uint8]
COPY_SIDE = 32
BATCH_VALUES = 2**20  # measured at once
TABLE_ROWS = 8192
JOB_PIXELS = 2**26  # of less, another process takes longer to start than it saves
GIVEN = {"group": pa.string(), "source_width": pa.float32(), "source_height": pa.float32()}
"""What the source may say of an image, and older data sets do not hold."""


@dataclass(frozen=True)
class Piece:
    """One row group of a shard; `copied` are those of its rows that are to be copied, ascending."""

    split: str
    shard: Path
    group: int
    rows: int
    copied: Ints


@dataclass(frozen=True)
class Survey:
    """What the pass found; the rows of all splits follow each other in the order of `num_rows`.

    Attributes:
        parts: Parquet files, a row an image.
        num_rows: images in each split.
        measured: names of the properties.
        copies: uint8 [n, h, w, C], at most 32 pixels a side.
        copied: rows of the first split that the copies show, [n], ascending.
    """

    parts: tuple[Path, ...]
    num_rows: dict[str, int]
    measured: tuple[str, ...]
    copies: Images
    copied: Ints

    def column(self, name: str, split: str) -> npt.NDArray[Any]:
        """One numeric column of a split."""
        values = np.concatenate([pq.read_table(part, columns=[name])[name].to_numpy() for part in self.parts])
        splits = list(self.num_rows)
        start = sum(self.num_rows[before] for before in splits[: splits.index(split)])
        return values[start : start + self.num_rows[split]]

    def take(self, columns: Sequence[str], rows: Ints) -> pd.DataFrame:
        """Some columns of the rows named, ascending; memory holds one part at a time."""
        taken, start = [], 0
        for part in self.parts:
            end = start + int(pq.read_metadata(part).num_rows)
            inside = rows[(rows >= start) & (rows < end)] - start
            taken.append(pq.read_table(part, columns=list(columns)).take(inside).to_pandas())
            start = end
        return pd.concat(taken, ignore_index=True)

    def tables(self) -> Iterator[pa.Table]:
        """All columns, some rows at a time."""
        for part in self.parts:
            with pq.ParquetFile(part) as file:
                yield from (pa.Table.from_batches([batch]) for batch in file.iter_batches(TABLE_ROWS))


def evenly(labels: Ints, most: int, seed: int) -> Ints:
    """At most `most` rows, ascending: all of the small classes, and as many of the large ones as fit, at random."""
    counts = np.bincount(labels)
    low, high = 0, int(counts.max(initial=0))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if np.minimum(counts, middle).sum() <= most else (low, middle - 1)
    rng = np.random.default_rng(seed)
    chosen = [rng.permutation(np.flatnonzero(labels == label))[:low] for label in np.flatnonzero(counts)]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)


def survey(data: Mapping[str, Dataset], copied: Ints, folder: Path) -> Survey:
    """Measures all images; `copied` are the rows of the first split to be copied, ascending. Fills `folder`."""
    first = next(iter(data.values()))
    channels, height, width = first.image_shape
    cut = _cut(data, copied, max(1, JOB_PIXELS // (height * width)))
    batch_rows = max(1, BATCH_VALUES // (channels * height * width))
    jobs = [
        {"pieces": pieces, "batch_rows": batch_rows, "out": folder / f"{number:05d}.parquet"}
        for number, pieces in enumerate(cut)
    ]
    copies = run_jobs(measure, jobs, "analyze_bias") if len(jobs) > 1 else [measure(**jobs[0])]  # type: ignore[arg-type]
    parts = tuple(folder / f"{number:05d}.parquet" for number in range(len(jobs)))
    measured = tuple(field.name for field in pq.read_schema(parts[0]) if field.type == pa.float32())
    num_rows = {split: dataset.num_rows for split, dataset in data.items()}
    return Survey(parts, num_rows, measured, np.concatenate(copies), copied)


def pictures(data: Mapping[str, Dataset], rows: Sequence[int]) -> list[Images]:
    """The images of the rows named, numbered through the splits, in the order given."""
    found: dict[int, Images] = {}
    start = 0
    for dataset in data.values():
        for shard in dataset.shards:
            with pq.ParquetFile(shard) as file:
                for group in range(file.metadata.num_row_groups):
                    end = start + int(file.metadata.row_group(group).num_rows)
                    inside = [row for row in rows if start <= row < end]
                    if inside:
                        stored = file.read_row_group(group, columns=["image"])["image"].combine_chunks().field("bytes")
                        found |= {row: decode_png(stored[row - start].as_py()) for row in inside}
                    start = end
    return [found[row] for row in rows]


def _cut(data: Mapping[str, Dataset], copied: Ints, rows_a_job: int) -> list[list[Piece]]:
    """All row groups in order, in lists of at least `rows_a_job` rows (but for the last)."""
    jobs: list[list[Piece]] = [[]]
    for place, (split, dataset) in enumerate(data.items()):
        start = 0
        for shard in dataset.shards:
            footer = pq.read_metadata(shard)
            for group in range(footer.num_row_groups):
                if sum(piece.rows for piece in jobs[-1]) >= rows_a_job:
                    jobs.append([])
                rows = int(footer.row_group(group).num_rows)
                inside = copied[(copied >= start) & (copied < start + rows)] - start
                jobs[-1].append(Piece(split, shard, group, rows, inside if place == 0 else inside[:0]))
                start += rows
    return jobs


def measure(pieces: list[Piece], batch_rows: int, out: Path) -> Images:
    """Measures the images of row groups, writes a table of them and returns the copies."""
    copies: list[Images] = []
    writer: pq.ParquetWriter | None = None
    with threadpool_limits(1):  # a sum that is split among threads may end in another digit
        for piece in pieces:
            start = 0
            for table, images in _batches(piece, batch_rows):
                writer = writer or pq.ParquetWriter(out, table.schema, compression="none")
                writer.write_table(table)
                wanted = piece.copied[(piece.copied >= start) & (piece.copied < start + len(images))] - start
                copies.append(_small(images[wanted]))
                start += len(images)
    assert writer is not None, "a job holds at least one image"
    writer.close()
    return np.concatenate(copies)


def _batches(piece: Piece, batch_rows: int) -> Iterator[tuple[pa.Table, Images]]:
    batch_number = int(piece.shard.name.partition("-")[0])
    with pq.ParquetFile(piece.shard) as file:
        known = [name for name in GIVEN if name in file.schema_arrow.names]
        for batch in file.iter_batches(batch_rows, row_groups=[piece.group], columns=["image", "label", "id", *known]):
            given = {
                name: batch.column(name).cast(kind) if name in known else pa.nulls(len(batch), kind)
                for name, kind in GIVEN.items()
            }
            stored = batch.column("image").field("bytes")
            images = np.stack([decode_png(data.as_py()) for data in stored])
            images = images[..., None] if images.ndim == 3 else images
            columns = {
                "id": batch.column("id"),
                "path": batch.column("image").field("path"),
                "split": pa.array([piece.split] * len(images)),
                "label": batch.column("label"),
                "group": given["group"],
                "batch": np.full(len(images), batch_number, dtype=np.int32),
                "bytes": pa.compute.binary_length(stored),
            }
            width, height = (given[name].to_numpy(zero_copy_only=False) for name in ("source_width", "source_height"))
            sizes = {"size": properties.size(width, height), "aspect": properties.aspect(width, height)}
            yield pa.table(columns | sizes | properties.measure(images)), images


def _small(images: Images) -> Images:
    """Images scaled down to at most `COPY_SIDE` pixels a side."""
    height, width, channels = images.shape[1:]
    scale = COPY_SIDE / max(height, width)
    if scale >= 1:
        return images
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    out = np.empty((len(images), size[1], size[0], channels), dtype=np.uint8)
    for place, image in enumerate(images):
        out[place] = cv2.resize(image, size, interpolation=cv2.INTER_AREA).reshape(out.shape[1:])
    return out
