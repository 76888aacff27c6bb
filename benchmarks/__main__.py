"""`python -m benchmarks`: runs all benchmarks, prints a table and writes `benchmarks/results.json`.

With `--million` peak memory is measured for a million images rather than a hundred thousand: a quarter of an hour more.
"""

import argparse
import importlib
import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.memory import MILLION
from benchmarks.timing import Result

MODULES = ("reading", "training", "generators", "augmentation", "augmentation_memory", "ingest", "ingest_memory")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ours against a peer.")
    parser.add_argument("--million", action="store_true", help="peak memory for a million images")
    parser.add_argument("only", nargs="*", help="modules to run; their results are printed, not written")
    chosen = parser.parse_args()
    results = []
    with TemporaryDirectory() as folder:
        os.environ["COUNTERWEIGHT_CACHE"] = str(Path(folder) / "cache")
        for name in chosen.only or MODULES:
            started = time.perf_counter()
            run = importlib.import_module(f"benchmarks.{name}").run
            many = {"many": MILLION} if chosen.million and name.endswith("_memory") else {}
            work = Path(folder) / name
            work.mkdir()
            results += run(work, **many)
            print(f"{name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    _print(results)
    if not chosen.only:
        out = Path(__file__).parent / "results.json"
        out.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")


def _print(results: list[Result]) -> None:
    for result in results:
        mark = "ok" if result.ratio >= result.target else "below"
        print(
            f"{result.name:75} {result.ours:>10,.0f} against {result.peer:>10,.0f} {result.unit:9} "
            f"ratio {result.ratio:6.2f}, target {result.target:5.2f}: {mark}"
        )


if __name__ == "__main__":
    main()
