"""Names what is derived by the code that it was derived with: other code finds nothing of it."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent


def digest(parts: Iterable[str]) -> str:
    """sha256 of the modules and packages of these names, such as "images.py" or "decoding"."""
    return _digest(tuple(parts))


@cache
def _digest(parts: tuple[str, ...]) -> str:
    total = hashlib.sha256()
    for name in parts:
        found = sorted((ROOT / name).rglob("*.py")) if (ROOT / name).is_dir() else [ROOT / name]
        for path in found:
            total.update(path.read_bytes())
    return total.hexdigest()
