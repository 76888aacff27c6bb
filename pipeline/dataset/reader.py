"""Reads one data set, or several as one: real + augmented + synthetic is a concatenation, never a copy."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.dataset.schema import LATER, Row, class_names, schema
from pipeline.errors import UserError
from pipeline.images import Pixels, decode_png

NUMBER_ROWS = 10_000  # of columns that are read without images, at once


@dataclass(frozen=True)
class Dataset:
    """Shards of one or more folders, in a fixed order; nothing is read before it is asked for."""

    folders: tuple[Path, ...]

    @classmethod
    def open(cls, *folders: Path | Sequence[Path]) -> "Dataset":
        """Opens folders of shards as one data set.

        Raises:
            UserError: a folder is missing, holds no shard of ours, or the folders' classes differ.
        """
        flat = [path for given in folders for path in ([given] if isinstance(given, Path) else given)]
        dataset = cls(tuple(flat))
        dataset.class_names  # noqa: B018 - reads the shards' footers, which is the check
        return dataset

    @cached_property
    def shards(self) -> tuple[Path, ...]:
        """All shards, folder by folder in the given order, sorted by name within each."""
        found = []
        for folder in self.folders:
            inside = sorted(folder.glob("*.parquet"))
            if not inside:
                raise UserError(f"{folder}: no data set here (expected Parquet shards); has its stage run?")
            found += inside
        return tuple(found)

    @cached_property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes; a label is an index into them."""
        names: dict[tuple[str, ...], Path] = {}
        for shard in self.shards:
            try:
                names.setdefault(class_names(pq.read_schema(shard)), shard)
            except (ValueError, OSError) as error:
                raise UserError(f"{shard}: is no shard of a data set ({error})") from None
        if len(names) > 1:
            places = " and ".join(f"{path} ({', '.join(classes)})" for classes, path in names.items())
            raise UserError(f"data sets with different classes cannot be joined: {places}")
        return next(iter(names))

    @property
    def num_classes(self) -> int:
        """Number of classes, empty ones included."""
        return len(self.class_names)

    @cached_property
    def num_rows(self) -> int:
        """Number of images, from the shards' footers."""
        return sum(int(pq.read_metadata(shard).num_rows) for shard in self.shards)

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Labels of all rows, int64 [N]; no image bytes are read."""
        labels = np.empty(self.num_rows, np.int64)
        row = 0
        for batch in self.batches(["label"], NUMBER_ROWS):
            labels[row : row + len(batch)] = batch.column(0).to_numpy()
            row += len(batch)
        return labels

    def class_counts(self) -> npt.NDArray[np.int64]:
        """Images in each class, int64 [C]; no image bytes are read."""
        return np.bincount(self.labels, minlength=self.num_classes).astype(np.int64)

    def frame(self, columns: Sequence[str]) -> pd.DataFrame:
        """The named columns (not `image`) of all rows; one that an earlier version did not write is empty."""
        assert "image" not in columns, "images are streamed by `batches`, never held at once"
        tables = [schema(()).empty_table().select(columns)]
        for shard in self.shards:
            with pq.ParquetFile(shard, pre_buffer=False) as file:
                lacking = set(LATER) - set(file.schema_arrow.names)
                tables.append(file.read([name for name in columns if name not in lacking]))
        return pa.concat_tables(tables, promote_options="default").to_pandas(self_destruct=True)

    def batches(self, columns: Sequence[str] | None = None, batch_rows: int = 500) -> Iterator[pa.RecordBatch]:
        """Streams all rows in order, at most `batch_rows` at a time."""
        for shard in self.shards:
            with pq.ParquetFile(shard, pre_buffer=False) as file:  # else it holds the whole shard
                yield from file.iter_batches(batch_rows, columns=None if columns is None else list(columns))

    def rows(self, labels: Sequence[int] | None = None) -> Iterator[Row]:
        """Streams all rows in order.

        Args:
            labels: the label to give instead of each stored one.
        """
        for batch in self.batches():
            for values in batch.to_pylist():
                image = values.pop("image")
                if labels is not None:
                    values["label"] = labels[values["label"]]
                yield Row(image=image["bytes"], path=image["path"], **values)

    def images(self) -> Iterator[Pixels]:
        """Streams the decoded images of all rows in order."""
        for batch in self.batches(["image"]):
            for data in batch.column("image").field("bytes"):
                yield decode_png(data.as_py())

    @cached_property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W), read off the first image.

        Raises:
            UserError: the data set is empty.
        """
        first = next(self.images(), None)
        if first is None:
            raise UserError(f"{', '.join(map(str, self.folders))}: holds no image")
        return (1 if first.ndim == 2 else first.shape[2], first.shape[0], first.shape[1])

    @cached_property
    def digest(self) -> str:
        """sha256 over the rows' ids, labels and weights: equal for equal rows in equal order, however grouped."""
        parts = [hashlib.sha256() for _ in range(3)]
        for batch in self.batches(["id", "label", "weight"], NUMBER_ROWS):
            ids, labels, weights = (batch.column(name) for name in ("id", "label", "weight"))
            parts[0].update("".join(f"{value}\n" for value in ids.to_pylist()).encode())
            parts[1].update(labels.to_numpy().astype("<i8", copy=False).tobytes())
            parts[2].update(weights.to_numpy().astype("<f4", copy=False).tobytes())
        return hashlib.sha256(repr((self.class_names, *(part.hexdigest() for part in parts))).encode()).hexdigest()
