"""Writes shards; a shard is only ever added or replaced whole, so that DVC stores unchanged ones once."""

from pathlib import Path
from types import TracebackType

import pyarrow.parquet as pq

from pipeline.dataset.schema import Row, schema, to_batch

SHARD_BYTES = 256 * 2**20
SHARD_ROWS = 50_000  # or a shard of tiny images would have a footer of many MB, which whoever opens it must hold
ROW_GROUP_ROWS = 500


class ShardWriter:
    """Appends shards `<prefix>-00000.parquet`, … to a folder; leaves one empty shard where no row was added.

    A shard has its final name only once it is whole; after an exception no part of the current one is left.
    """

    def __init__(
        self, folder: Path, class_names: tuple[str, ...], prefix: str = "00000", shard_bytes: int = SHARD_BYTES
    ) -> None:
        self._folder, self._prefix, self._shard_bytes = folder, prefix, shard_bytes
        self._schema = schema(class_names)
        self._rows: list[Row] = []
        self._parquet: pq.ParquetWriter | None = None
        self._num_shards = 0
        self._bytes = self._row_count = 0

    def add(self, row: Row) -> None:
        """Adds one row; memory holds at most one row group."""
        self._rows.append(row)
        self._bytes += len(row.image)
        self._row_count += 1
        if len(self._rows) >= ROW_GROUP_ROWS:
            self._write_row_group()
        if self._bytes >= self._shard_bytes or self._row_count >= SHARD_ROWS:
            self._close_shard()

    def __enter__(self) -> "ShardWriter":
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if kind is not None:
            if self._parquet is not None:
                self._parquet.close()
                self._partial.unlink(missing_ok=True)
            return
        if self._rows or self._parquet is not None or not self._num_shards:
            self._close_shard()

    @property
    def _partial(self) -> Path:
        return self._folder / f".{self._prefix}-{self._num_shards:05d}.partial"

    def _write_row_group(self) -> None:
        if self._parquet is None:
            # Images are compressed already, and uncompressed pages let DVC and the page cache share unchanged bytes.
            self._parquet = pq.ParquetWriter(self._partial, self._schema, compression="none", use_dictionary=False)
        self._parquet.write_batch(to_batch(self._rows, self._schema))
        self._rows = []

    def _close_shard(self) -> None:
        if self._rows or self._parquet is None:
            self._write_row_group()
        assert self._parquet is not None
        self._parquet.close()
        self._partial.rename(self._folder / f"{self._prefix}-{self._num_shards:05d}.parquet")
        self._parquet, self._bytes, self._row_count = None, 0, 0
        self._num_shards += 1
