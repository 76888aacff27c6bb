"""`none`: no source at all, for a project without a source domain."""

from collections.abc import Iterator

from pipeline.sources import SourceFile


def accepts(source: str) -> bool:
    """True for `none`."""
    return source == "none"


def files(source: str) -> Iterator[SourceFile]:
    """No file."""
    return iter(())
