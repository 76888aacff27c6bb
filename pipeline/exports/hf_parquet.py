"""Parquet shards the way the Hugging Face Hub has them: data/SPLIT-00000-of-00002.parquet.

Images and the classes' names are inside. `datasets.load_dataset(FOLDER)` opens it with
its splits, images decoded.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from pipeline.dataset import Row, ShardWriter
from pipeline.dataset.writer import SHARD_BYTES

_CALLED = {"val": "validation"}  # what the Hub calls it


def write(rows: Iterator[Row], class_names: tuple[str, ...], folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes the shards of each split, all columns kept."""
    inside, writers = folder / "data", dict[str, ShardWriter]()
    with ExitStack() as stack:
        for row in rows:
            if row.split not in writers:
                shards = ShardWriter(inside, class_names, prefix=row.split, shard_bytes=shard_bytes)
                writers[row.split] = stack.enter_context(shards)
            writers[row.split].add(row)
    for split in writers:
        written = sorted(inside.glob(f"{split}-*.parquet"))
        for number, path in enumerate(written):
            path.rename(inside / f"{_CALLED.get(split, split)}-{number:05d}-of-{len(written):05d}.parquet")
