"""`python -m benchmarks`: runs all benchmarks, prints a table and writes `benchmarks/results.json`."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def main() -> None:
    """Runs everything."""
    from benchmarks import augmentation, augmentation_memory, reading, training

    with TemporaryDirectory() as folder:
        os.environ["COUNTERWEIGHT_CACHE"] = str(Path(folder) / "cache")
        results = [*reading.run(Path(folder)), *training.run(), *augmentation.run()]
        results.append(augmentation_memory.run(Path(folder)))
    for result in results:
        mark = "ok" if result.ratio >= result.target else "below"
        print(
            f"{result.name:68} {result.ours:>10,.0f} against {result.peer:>10,.0f} {result.unit:9} "
            f"ratio {result.ratio:6.2f}, target {result.target:5.1f}: {mark}"
        )
    out = Path(__file__).parent / "results.json"
    out.write_text(json.dumps([asdict(result) for result in results], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
