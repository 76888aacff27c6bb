"""Formats that a data set of ours can be written in. One file a format; the folder is the registry.

A format module has one function:
    write(rows, class_names, folder): writes `rows` (an iterator of `Row`) into the empty `folder`.
What it writes is a source that `ingest` reads: same pixels, classes and splits.
"""

from collections import Counter

from pipeline.dataset import Row

KIND = "format"


class Keys:
    """A name for each image, its `id`; should the same image come again in the same place, `id`-2 and so on."""

    def __init__(self) -> None:
        self._used: Counter[tuple[str, str]] = Counter()

    def of(self, row: Row, place: str) -> str:
        """The name of a row in a place, such as a folder."""
        self._used[place, row.id] += 1
        nth = self._used[place, row.id]
        return row.id if nth == 1 else f"{row.id}-{nth}"


def told(row: Row) -> dict[str, object]:
    """What is told of an image beside its class."""
    names = ("split", "origin", "weight", "parent_id", "seed", "quality", "group")
    return {name: getattr(row, name) for name in names}
