"""Reading images: shards streamed against Hugging Face `datasets`, the pixel cache against decoding again."""

from pathlib import Path

import numpy as np

from benchmarks.timing import Result, compare
from pipeline.dataset import Dataset, PixelStore, ShardWriter, make_row

NUM_IMAGES = 20_000


def run(folder: Path) -> list[Result]:
    """Benchmarks on 20,000 images of 32 x 32 pixels."""
    import datasets

    shards = folder / "shards"
    rng = np.random.default_rng(0)
    with ShardWriter(shards, ("a", "b")) as writer:
        for number in range(NUM_IMAGES):
            image = np.kron(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
            writer.add(make_row(image, number % 2, path=f"{number}.png", origin="real"))
    data = Dataset.open(shards)
    store = PixelStore(data)
    rows = rng.permutation(NUM_IMAGES)
    files = [str(path) for path in data.shards]
    peer = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / "hf"))

    def stream() -> int:
        return sum(1 for _ in data.images())

    def stream_peer() -> int:
        return sum(np.asarray(row["image"]) is not None for row in peer.select_columns(["image"]))

    def gather() -> int:
        return sum(len(store.images(rows[i : i + 64])) for i in range(0, NUM_IMAGES, 64))

    return [
        compare("decode a data set in order, vs datasets", stream, stream_peer, "images/s", 1.0, rounds=3),
        compare(
            "random batches from the pixel cache, vs decoding in order", gather, stream, "images/s", 10.0, rounds=3
        ),
    ]
