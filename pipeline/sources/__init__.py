"""Where images come from. One file a kind of source; the folder is the registry.

A source module has two functions:
    accepts(source) -> bool: whether `source`, as written in params.yaml, is of this kind;
    files(source) -> Iterator[SourceFile]: its image files in an order that depends on the content alone.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from pipeline import registry
from pipeline.dataset.schema import Split
from pipeline.errors import UserError

KIND = "source"
T = TypeVar("T")
AHEAD = 16  # files fetched before they are asked for: requests under way at once, and images in memory


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One image file of a source.

    Attributes:
        name: unique within the source, "/" between folders.
        label: name of the class.
        split: the split that the source itself puts the file in, if it does.
        read: returns the file's bytes.
        group: what the file must not be parted from by a split (patient, camera, series), if the source says so.
        box: x, y, width and height in pixels of the part of the file that is the image, if it is a part.
        identity: what pins an image instead of its bytes: a computed one, whose pixels may differ a little between
            processors, or one that the source's own listing has a hash of.
        size: bytes of a file that `identity` pins, if it is one.
        prepare: begins to fetch the file in the background, where a read has to wait for the network.
        listed: label, split and group stand in a list that may change while the file does not: they are pinned too.
    """

    name: str
    label: str
    split: Split | None
    read: Callable[[], bytes]
    group: str | None = None
    box: tuple[int, int, int, int] | None = None
    identity: bytes | None = None
    size: int | None = None
    prepare: Callable[[], None] | None = None
    listed: bool = False


def find(source: str) -> ModuleType:
    """The module that reads `source`.

    Raises:
        UserError: no kind of source accepts it, or more than one.
    """
    found = {name: module for name, module in registry.modules(__name__).items() if module.accepts(source)}
    if len(found) > 1:
        raise UserError(f"source {source!r} may be read as {' or as '.join(found)}; name one file in it, or part them")
    if not found:
        kinds = ", ".join(registry.names(__name__))
        fault = "is damaged or of no known kind" if Path(source).exists() else "does not exist"
        raise UserError(f"source {source!r} {fault}; known kinds: {kinds}")
    return next(iter(found.values()))


def claimed(source: str, besides: str) -> bool:
    """Whether a kind other than `besides` (a module's name) accepts `source`, for the kinds that take what is left."""
    return any(module.accepts(source) for module in registry.modules(__name__).values() if module.__name__ != besides)


def files(source: str) -> Iterator[SourceFile]:
    """All image files of `source`.

    Raises:
        UserError: the source is missing, of no known kind, or holds no class; or a name in it is no Unicode.
    """
    for file in find(source).files(source):
        if not file.name.isascii() and any("\ud800" <= sign <= "\udfff" for sign in file.name):
            raise UserError(f"source {source!r}: the name {os.fsencode(file.name)!r} is no UTF-8; rename the file")
        yield file


def unlabelled(given: str) -> AbstractContextManager[tuple[Sequence[str], Callable[[str], bytes]]]:
    """Opens images without classes; see `pipeline.sources._unlabelled.opened`."""
    from pipeline.sources import _unlabelled

    return _unlabelled.opened(given)


def prepared(found: Iterable[tuple[T, SourceFile]]) -> Iterator[tuple[T, SourceFile]]:
    """Files that will all be read, each with what goes with it; those that can be are fetched before they come."""
    coming: deque[tuple[T, SourceFile]] = deque()
    for item in found:
        if item[1].prepare is None:
            yield item
            continue
        item[1].prepare()
        coming.append(item)
        if len(coming) > AHEAD:
            yield coming.popleft()
    yield from coming
