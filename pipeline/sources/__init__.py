"""Where images come from. One file a kind of source; the folder is the registry.

A source module has two functions:
    accepts(source) -> bool: whether `source`, as written in params.yaml, is of this kind;
    files(source) -> Iterator[SourceFile]: its image files in an order that depends on the content alone.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pipeline import registry
from pipeline.dataset.schema import Split
from pipeline.errors import UserError

KIND = "source"


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
        identity: what pins an image that is computed, not stored: its pixels may differ a little between processors.
        listed: label, split and group stand in a list that may change while the file does not: they are pinned too.
    """

    name: str
    label: str
    split: Split | None
    read: Callable[[], bytes]
    group: str | None = None
    box: tuple[int, int, int, int] | None = None
    identity: bytes | None = None
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
        if any("\ud800" <= sign <= "\udfff" for sign in file.name):
            raise UserError(f"source {source!r}: the name {os.fsencode(file.name)!r} is no UTF-8; rename the file")
        yield file
