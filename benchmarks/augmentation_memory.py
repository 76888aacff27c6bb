"""Peak memory of the stage augment: as flat for a million images as for ten thousand.

`python -m benchmarks.augmentation_memory make FOLDER NUMBER` writes so many images; `… augment FOLDER NUMBER` makes one
of each and prints the process's peak in MB.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.timing import Result
from pipeline.atomic import write_json
from pipeline.dataset import ShardWriter, make_row

FEW, MANY, MOST = 10_000, 1_000_000, 1.2


def run(folder: Path) -> Result:
    """One image made of each of 10,000 and of a million, each number in a process of its own."""
    few, many = (peak(folder / f"memory-{number}", number) for number in (FEW, MANY))
    name = f"peak memory of augment, {MANY:,} images against {FEW:,}"
    return Result(name, many, few, "MB", round(few / many, 2), round(1 / MOST, 2))


def peak(folder: Path, number: int) -> float:
    """MB that the stage needs for so many images."""
    told = ""
    for step in ("make", "augment"):
        command = [sys.executable, "-m", "benchmarks.augmentation_memory", step, str(folder), str(number)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(told)


def make(folder: Path, number: int) -> None:
    """Writes a data set of `number` rows, all of one small picture, and a plan that asks for as many."""
    row = make_row(np.arange(64, dtype=np.uint8).reshape(8, 8), 0, path="picture", origin="real")
    with ShardWriter(folder / "real", ("only",)) as writer:
        for _ in range(number):
            writer.add(row)
    write_json(folder / "plan.json", {"only": {"real": number, "augment": number, "synthesize": 0}})


def augment(folder: Path, _number: int) -> None:
    """Runs the stage and prints this process's peak."""
    from pipeline.stages import augment as stage
    from pipeline.transforms.policy import Policy

    params = stage.Params(seed=0, weight=1.0, policy=Policy(name="digits"))
    stage.run(folder / "real", folder / "plan.json", folder / "out", folder / "metrics.json", params)
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1))


if __name__ == "__main__":
    {"make": make, "augment": augment}[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
