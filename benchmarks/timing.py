"""Times two ways of doing one thing, in turn."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What a benchmark measured; `ratio` says how many times as fast as the peer we are."""

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    target: float


def compare(
    name: str,
    ours: Callable[[], int],
    peer: Callable[[], int],
    unit: str,
    target: float,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Calls both in turn, after a round that does not count; each returns how many units it did.

    The ratio is the median over rounds, so that a machine that slows down half-way does not decide it.

    Args:
        clock: what seconds are counted by; `time.process_time` where both only compute, in this process.
    """
    counted = [(_rate(ours, clock), _rate(peer, clock)) for _ in range(rounds + 1)][1:]
    ratio = statistics.median(one / other for one, other in counted)
    medians = [statistics.median(rate[i] for rate in counted) for i in (0, 1)]
    return Result(name, round(medians[0], 1), round(medians[1], 1), unit, round(ratio, 2), target)


def _rate(function: Callable[[], int], clock: Callable[[], float]) -> float:
    start = clock()
    count = function()
    return count / (clock() - start)
