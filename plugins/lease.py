"""Keeps retention and the tasks of runs apart, over the run store alone.

Each side first writes a key of its own and only then looks for the other's. Whichever looks later sees the other, so
the two are never at it together, whatever Airflow knows or thinks.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from plugins.run_store import RunStore

Clock = Callable[[], datetime]
WORK, LEASES = "at_work", "retention"
# How long a lease lasts if nobody gives it back: its holder was killed.
LEASE = timedelta(hours=2)
# Before its end the holder has stopped: clocks differ, and a request may be under way.
MARGIN = timedelta(minutes=15)
POLL_S = 15.0


class BusyError(ValueError):
    """Somebody is at work whom retention must not disturb."""


def utc_now() -> datetime:
    """The time."""
    return datetime.now(UTC)


@contextmanager
def at_work(
    store: RunStore,
    slug: str,
    task: str,
    line: Callable[[str], None],
    *,
    clock: Clock = utc_now,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[None]:
    """Keeps retention away while a task of a run is at work; waits while one is removing things already."""
    key = f"{WORK}/{slug}/{task}.json"
    while True:
        store.delete(key)  # of an attempt that was killed
        store.put(key, _since(clock))
        until = _held(store, clock(), but=slug)
        if until is None:
            break
        store.delete(key)
        line(f"{task}: retention is removing old runs; waits for it to end, at most until {until:%Y-%m-%d %H:%M} UTC")
        while _held(store, clock(), but=slug):
            pause(POLL_S)
    try:
        yield
    finally:
        store.delete(key)


@dataclass(frozen=True)
class Worker:
    """A task that is at work, or was when its worker died."""

    slug: str
    task: str
    since: datetime


def workers(store: RunStore) -> list[Worker]:
    """The tasks that have not said that they are done."""
    found = []
    for key in store.keys(f"{WORK}/"):
        data = store.get(key)
        if data is not None:
            _, slug, name = key.split("/", 2)
            found.append(Worker(slug, name.removesuffix(".json"), datetime.fromisoformat(json.loads(data)["since"])))
    return found


@contextmanager
def lease(store: RunStore, holder: str, *, clock: Clock = utc_now) -> Iterator[datetime]:
    """The right to remove things, until the time that it yields; tasks that begin meanwhile wait.

    Args:
        holder: the retention's own slug; another attempt of the same takes over what a killed one has left.

    Raises:
        BusyError: another retention holds it.
    """
    key = f"{LEASES}/{holder}.json"
    store.delete(key)
    until = clock() + LEASE
    store.put(key, json.dumps({"until": until.isoformat()}).encode())
    try:
        other = _held(store, clock(), but=holder)
        if other is not None:
            raise BusyError(f"another retention is removing old runs, at most until {other:%Y-%m-%d %H:%M} UTC")
        yield until - MARGIN
    finally:
        store.delete(key)


def _held(store: RunStore, now: datetime, but: str) -> datetime | None:
    """Until when the longest lease of others lasts, None where there is none."""
    data = [store.get(key) for key in store.keys(f"{LEASES}/") if key != f"{LEASES}/{but}.json"]
    ends = [datetime.fromisoformat(json.loads(text)["until"]) for text in data if text is not None]
    return max((end for end in ends if end > now), default=None)


def _since(clock: Clock) -> bytes:
    return json.dumps({"since": clock().isoformat()}).encode()
