"""New images as a classifier sees them, prepared like those it was trained on."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from pipeline import sources
from pipeline.decoding import UndecodableImageError, decode
from pipeline.engine import num_workers
from pipeline.images import Pixels, Shape, fit
from pipeline.intake import why_unread

AHEAD = 4  # images a thread that are read before they are asked for


@dataclass(frozen=True)
class Picture:
    """One file.

    Attributes:
        path: as it was given, or below the folder or archive that was given.
        pixels: uint8 [size, size] or [size, size, 3]; None where `problem` says why not.
    """

    path: str
    pixels: Pixels | None
    problem: str | None = None


class Pictures:
    """Files, folders and archives; their images are read as they are asked for, and never held together."""

    def __init__(self, given: Iterable[str], stack: ExitStack) -> None:
        self._opened = [(place, *stack.enter_context(sources.unlabelled(place))) for place in given]

    def __len__(self) -> int:
        return sum(len(names) for _, names, _ in self._opened)

    def prepared(self, shape: Shape) -> Iterator[Picture]:
        """Every image in `shape`, in order, or what is wrong with it; all processors decode."""
        threads = num_workers()
        coming: deque[Future[Picture]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for path, read in self._files():
                coming.append(_read(pool, path, read, shape))
                if len(coming) > AHEAD * threads:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def _files(self) -> Iterator[tuple[str, Callable[[], bytes]]]:
        for place, names, read in self._opened:
            for name in names:
                yield _printable(f"{place.rstrip('/') or '/'}/{name}" if name else place), partial(read, name)


def _read(pool: ThreadPoolExecutor, path: str, read: Callable[[], bytes], shape: Shape) -> Future[Picture]:
    """Reads a file here, since an archive has one place that it is read at, and has it decoded by the pool."""
    try:
        return pool.submit(_decoded, path, read(), shape)
    except OSError as error:
        return pool.submit(Picture, path, None, why_unread(error))


def _decoded(path: str, data: bytes, shape: Shape) -> Picture:
    try:
        return Picture(path, fit(decode(data), shape.size, shape.channels, shape.how))
    except UndecodableImageError as error:
        return Picture(path, None, str(error))


def _printable(path: str) -> str:
    r"""The path as Unicode; bytes that are none become \xNN."""
    return os.fsencode(path).decode(errors="backslashreplace")
