"""Peak memory of a step of work, in a process of its own, for two numbers of images."""

import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.timing import Result

FEW, MANY, MILLION = 10_000, 100_000, 1_000_000
MOST = 1.2  # times the memory, for however many more images
Step = Callable[[Path, int], None]


def compare_peaks(
    module: str, steps: tuple[str, ...], measured: tuple[str, ...], folder: Path, many: int
) -> list[Result]:
    """Runs the steps of a module for few and for many images, and compares the peaks of those `measured`."""
    of_few, of_many = (peaks(module, steps, folder / f"{module}-{number}", number) for number in (FEW, many))
    return [
        Result(
            f"peak memory of {step}, {many:,} images against {FEW:,}",
            of_many[step],
            of_few[step],
            "MB",
            round(of_few[step] / of_many[step], 2),
            round(1 / MOST, 2),
        )
        for step in measured
    ]


def peaks(module: str, steps: tuple[str, ...], folder: Path, number: int) -> dict[str, float]:
    """MB that each step needs, after the ones before it."""
    found = {}
    for step in steps:
        command = [sys.executable, "-m", f"benchmarks.{module}", step, str(folder), str(number)]
        found[step] = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def run_step(steps: Mapping[str, Step]) -> None:
    """What a module does when it is called with STEP FOLDER NUMBER: that step, and prints this process's peak."""
    steps[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(round(int(status.partition("VmHWM:")[2].split()[0]) / 1024, 1))
