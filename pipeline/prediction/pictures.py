"""New images as a classifier sees them, prepared like those it was trained on, one after the other."""

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from pipeline import sources
from pipeline.decoding import UndecodableImageError, decode
from pipeline.images import Pixels, Shape, fit
from pipeline.intake import why_unread


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
        """Every image in `shape`, or what is wrong with it."""
        for place, names, read in self._opened:
            for name in names:
                path = _printable(f"{place.rstrip('/') or '/'}/{name}" if name else place)
                try:
                    pixels = fit(decode(read(name)), shape.size, shape.channels, shape.how)
                except OSError as error:
                    yield Picture(path, None, why_unread(error))
                except UndecodableImageError as error:
                    yield Picture(path, None, str(error))
                else:
                    yield Picture(path, pixels)


def _printable(path: str) -> str:
    r"""The path as Unicode; bytes that are none become \xNN."""
    return os.fsencode(path).decode(errors="backslashreplace")
