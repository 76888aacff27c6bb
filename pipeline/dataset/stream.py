"""A shuffled pass over a data set that never holds more than a buffer of rows.

Rows are never fetched one by one at random: shards are shuffled, then row groups, then a buffer of rows.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from pipeline.dataset.reader import Dataset


def shuffled(dataset: Dataset, seed: int, buffer_rows: int = 4096) -> Iterator[dict[str, Any]]:
    """Yields every row once as a dictionary, in an order that depends on `seed` alone."""
    rng = np.random.default_rng(seed)
    buffer: list[dict[str, Any]] = []
    for row in _rows(dataset, rng):
        if len(buffer) < buffer_rows:
            buffer.append(row)
            continue
        place = int(rng.integers(buffer_rows))
        out, buffer[place] = buffer[place], row
        yield out
    for place in rng.permutation(len(buffer)):
        yield buffer[place]


def _rows(dataset: Dataset, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    for shard in rng.permutation(np.arange(len(dataset.shards))):
        with pq.ParquetFile(dataset.shards[shard], pre_buffer=False) as file:
            for group in rng.permutation(file.num_row_groups):
                yield from file.read_row_group(int(group)).to_pylist()
