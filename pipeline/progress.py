"""Progress of long steps: a bar in a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from tqdm import tqdm

LOG_INTERVAL_S = 10.0
T = TypeVar("T")


def track(items: Iterable[T], label: str, total: int | None = None, unit: str = "it") -> Iterator[T]:
    """Yields `items`, showing how many of `total` have passed."""
    with bar(label, _length(items) if total is None else total, unit) as shown:
        for item in items:
            yield item
            shown.update()


def bar(label: str, total: int | None, unit: str = "it", done: int = 0) -> "tqdm[Any] | _Lines":
    """Progress for loops that count for themselves: a context with `.update(n)` and `.set_postfix(values)`.

    Args:
        done: how many were done before; they say nothing about how long the others take.
    """
    if sys.stderr.isatty():
        return tqdm(
            total=total, initial=done, desc=label, unit=unit, file=sys.stderr, mininterval=0.2, dynamic_ncols=True
        )
    return _Lines(label, total, unit, done)


class _Lines:
    """Progress where no terminal is: a line every `LOG_INTERVAL_S` seconds."""

    def __init__(self, label: str, total: int | None, unit: str, done: int) -> None:
        self._label, self._total, self._unit = label, total, unit
        self._before, self._done, self._postfix = done, done, ""
        self._start = self._shown_at = time.monotonic()

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown_at > self._start:
            self._show()

    def update(self, n: int = 1) -> None:
        """Counts `n` more."""
        self._done += n
        if time.monotonic() - self._shown_at >= LOG_INTERVAL_S:
            self._show()

    def set_postfix(self, values: dict[str, str]) -> None:
        """Notes figures to show with the next line."""
        self._postfix = "".join(f", {name} {value}" for name, value in values.items())

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        elapsed = self._shown_at - self._start
        new = self._done - self._before
        left = f", {elapsed / new * (self._total - self._done):.0f} s left" if self._total and new else ""
        log(f"{self._label}: {self._done}/{self._total or '?'} {self._unit} in {elapsed:.0f} s{left}{self._postfix}")


def log(message: str) -> None:
    """Prints one plain line about what a step did."""
    print(message, file=sys.stderr, flush=True)


def _length(items: Iterable[Any]) -> int | None:
    return len(items) if isinstance(items, Sized) else None
