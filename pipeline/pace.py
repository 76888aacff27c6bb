"""How fast this machine was at a kind of work: told to people before a run, never written into a result.

Kept as `pace.json` in the folder of derived files (`COUNTERWEIGHT_CACHE`), so that it is as local as the machine.
"""

import json
import math

from pipeline.atomic import write_json
from pipeline.dataset.cache import cache_folder

MIN_SECONDS = 0.2  # of less, start-up and chance are most


def record(work: str, images: int, seconds: float) -> None:
    """Notes that `work` took `seconds` for `images`; the newest note counts."""
    if images > 0 and seconds >= MIN_SECONDS:
        write_json(cache_folder() / "pace.json", _known() | {work: images / seconds})


def seconds_for(work: str, images: int) -> float | None:
    """Seconds that `images` will take at the pace noted last; None where none is."""
    if not images:
        return 0.0
    pace = _known().get(work)
    return None if pace is None else images / pace


def _known() -> dict[str, float]:
    """Images a second by kind of work; a damaged file is as good as none."""
    try:
        content = json.loads((cache_folder() / "pace.json").read_text(encoding="utf-8"))
        return {str(work): float(pace) for work, pace in content.items() if 0 < float(pace) < math.inf}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
