"""looks.json on its way through a run: what the run's lock says of it, and what the checkout holds beside that.

`evaluate` counts its looks at the test images in looks.json, which dvc.lock notes as a parameter of it. So the looks of
earlier runs come with the starting lock, a run's own look comes back with the stage's entry, and no look that was
committed on a branch is lost.
"""

import json
from pathlib import Path
from typing import Any

from plugins.lock import Lock

FILE = "looks.json"
KEY = "test_splits"
Splits = list[dict[str, Any]]


def lay_over(folder: Path, lock: Lock) -> None:
    """Writes looks.json with the looks that the lock knows, and after them those that the checkout adds."""
    path = folder / FILE
    held: Splits = json.loads(path.read_text(encoding="utf-8"))[KEY] if path.exists() else []
    noted = [entry["params"][FILE].get(KEY) for entry in lock.values() if FILE in entry.get("params", {})]
    known: Splits = next((splits for splits in noted if splits is not None), [])
    if known:
        path.write_text(json.dumps({KEY: merge(known, held)}, indent=2) + "\n", encoding="utf-8")


def merge(known: Splits, more: Splits) -> Splits:
    """The looks of both, those of `known` first, so that they keep their numbers."""
    merged = [dict(split) for split in known]
    for split in more:
        same = next((other for other in merged if _is_same(other, split)), None)
        if same is None:
            merged.append(dict(split))
        else:
            same["looks"] = [*same["looks"], *(look for look in split["looks"] if look not in same["looks"])]
    return merged


def _is_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two samples are of one test split, which may have grown between them."""
    images = set(one["images"].split())
    shared = sum(image in images for image in other["images"].split())
    return bool(one["number"] == other["number"] and 2 * shared >= len(images))
