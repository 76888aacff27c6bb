"""Peak memory of the stage augment: as flat for a million images as for ten thousand."""

from pathlib import Path

import numpy as np

from benchmarks.memory import MANY, compare_peaks, run_step
from benchmarks.timing import Result
from pipeline.atomic import write_json
from pipeline.dataset import ShardWriter, make_row


def run(folder: Path, many: int = MANY) -> list[Result]:
    """One image made of each, for few and for many images."""
    return compare_peaks("augmentation_memory", ("make", "augment"), ("augment",), folder, many)


def make(folder: Path, number: int) -> None:
    """Writes a data set of `number` rows, all of one small picture, and a plan that asks for as many."""
    row = make_row(np.arange(64, dtype=np.uint8).reshape(8, 8), 0, path="picture", origin="real")
    with ShardWriter(folder / "real", ("only",)) as writer:
        for _ in range(number):
            writer.add(row)
    write_json(folder / "plan.json", {"only": {"real": number, "augment": number, "synthesize": 0}})


def augment(folder: Path, _number: int) -> None:
    """Runs the stage."""
    from pipeline.stages import augment as stage
    from pipeline.transforms.policy import Policy

    params = stage.Params(seed=0, weight=1.0, policy=Policy(name="digits"))
    stage.run(folder / "real", folder / "plan.json", folder / "out", folder / "metrics.json", params)


if __name__ == "__main__":
    run_step({"make": make, "augment": augment})
