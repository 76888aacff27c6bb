"""Peak memory of scan, ingest and analysis: as flat for a million images as for ten thousand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.memory import MANY, compare_peaks, run_step
from benchmarks.timing import Result
from pipeline import params
from pipeline.images import encode_png
from pipeline.ledger import SPLITS

SIDE, GROUP_ROWS, SHARD_ROWS = 24, 1000, 100_000  # the smallest images that look-alikes are sought among
IMAGES = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.string())])


def run(folder: Path, many: int = MANY) -> list[Result]:
    """Each command, for few and for many images."""
    steps = ("scan", "ingest", "analyze_bias")
    return compare_peaks("ingest_memory", ("make", *steps), steps, folder, many)


def make(folder: Path, number: int) -> None:
    """Writes Parquet shards of `number` images of grey noise, no two alike, in ten classes."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    for first in range(0, number, SHARD_ROWS):
        with pq.ParquetWriter(folder / "images" / f"{first // SHARD_ROWS:05d}.parquet", IMAGES) as shard:
            for start in range(first, min(number, first + SHARD_ROWS), GROUP_ROWS):
                pixels = rng.integers(0, 256, (GROUP_ROWS, SIDE, SIDE), dtype=np.uint8)
                rows = [
                    {"image": {"bytes": encode_png(image)}, "label": str((start + place) % 10)}
                    for place, image in enumerate(pixels)
                ]
                shard.write_batch(pa.RecordBatch.from_pylist(rows, schema=IMAGES))


def scan(folder: Path, _number: int) -> None:
    """Pins the images."""
    from pipeline.commands import scan as command

    text = f"ingest: {{source: {folder / 'images'}}}\ningest_source: {{source: none}}\n"
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    command.run(folder / "params.yaml", folder / "source.json")


def ingest(folder: Path, number: int) -> None:
    """Runs the stage."""
    from pipeline.stages import ingest as stage

    section = params.read(Path("params.yaml"))["ingest"]
    chosen = replace(
        params.build(stage.Params, section, "params.yaml: ingest"),
        source=str(folder / "images"),
        image_size=SIDE,
        channels=1,
    )
    outs = [folder / name for name in ("train", "val", "test", "quarantine", "metrics.json")]
    stage.run(folder / "source.json", *outs, chosen)
    kept = sum(pq.read_metadata(path).num_rows for out in outs[:3] for path in out.glob("*.parquet"))
    assert kept == number, f"{kept} of {number} images came through"


def analyze_bias(folder: Path, _number: int) -> None:
    """Runs the stage on what came in."""
    from pipeline.stages import analyze_bias as stage

    section = params.read(Path("params.yaml"))["analyze_bias"]
    files = ("plan.json", "metrics.json", "findings.json", "images.parquet", "histogram.csv", "cues.csv", "drift.csv")
    outs = [folder / name for name in (*SPLITS, *(f"analyze_bias/{name}" for name in (*files, "plots")))]
    stage.run(*outs, params.build(stage.Params, section, "params.yaml: analyze_bias"))


if __name__ == "__main__":
    run_step({"make": make, "scan": scan, "ingest": ingest, "analyze_bias": analyze_bias})
