"""COCO object detection: every box is an image, cut out of its file, and its category is the class.

The source is an instances JSON, or a folder that holds annotations/instances_*.json (their splits by their names) or
SPLIT/_annotations.coco.json. The image files are looked for beside the JSON, in the folders beside it, in the folder
above, and in the folders in that. Crowds (`iscrowd`) are passed over; a box that is empty or leaves its image is
refused when the image is read. Boxes of one file are one group.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.sources import SourceFile
from pipeline.sources._columns import Box
from pipeline.sources._instances import Instances
from pipeline.sources._listing import boxed_name
from pipeline.sources._named import Folder, read_file
from pipeline.sources._shards import split_in_name, splits_of

_TRIED = 100  # files looked for until one is found


def accepts(source: str) -> bool:
    """True for a .json file, and for a folder that holds such files where COCO has them."""
    path = Path(source)
    return bool(_tables(path)) if path.is_dir() else path.suffix.lower() == ".json" and path.is_file()


def files(source: str) -> Iterator[SourceFile]:
    """The boxes, file by file in the order of the JSON; a file that is missing can't be read.

    Raises:
        UserError: a JSON is no COCO instances file, or none of its images is found.
    """
    path = Path(source)
    if not path.is_dir():
        yield from _files(path, None)
        return
    for table, split in splits_of(path, _tables(path)).items():
        Folder(path).file(source, table.relative_to(path).as_posix())
        yield from _files(table, split, path)


def _tables(root: Path) -> list[Path]:
    return sorted((*root.glob("annotations/instances*.json"), *root.glob("*/_annotations.coco.json")))


def _files(table: Path, split: Split | None, source: Path | None = None) -> Iterator[SourceFile]:
    """The boxes of one JSON, which is one of several in the folder `source`, or the source itself."""
    instances = Instances.read(table)
    root = _images_folder(table, instances.file_names[:_TRIED])
    folder, last = Folder(root), _LastRead()
    prefix = f"{table.relative_to(source).with_suffix('').as_posix()}/" if source else ""
    for name, boxes in instances.by_file():
        path = folder.file(str(table), name)
        seen: set[tuple[Box, str]] = set()
        for box, label in boxes:
            if (box, label) in seen:
                continue
            nth = sum(known == box for known, _ in seen)
            seen.add((box, label))
            yield SourceFile(
                name=boxed_name(f"{prefix}{name}#{nth + 1}" if nth else f"{prefix}{name}", box),
                label=label,
                split=split,
                group=path.relative_to(source.absolute()).as_posix() if source else name,
                box=box,
                read=partial(last.read, path),
                listed=True,
            )


class _LastRead:
    """Keeps the last file read, of which several boxes may be cut."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._data = b""

    def read(self, path: Path) -> bytes:
        if path != self._path:
            self._data = read_file(path)
            self._path = path
        return self._data


def _images_folder(table: Path, names: list[str]) -> Path:
    """Where the image files lie: the nearest folder that holds any of the first ones.

    Raises:
        UserError: none does, or two that are equally near.
    """
    beside, split = table.absolute().parent, split_in_name(table.name)
    above = beside.parent
    for near in (
        [beside],
        _folders(beside),
        [above],
        _folders(above),
        _folders(beside / "images"),
        _folders(above / "images"),
    ):
        holding = [folder for folder in near if any((folder / name).is_file() for name in names)]
        if len(holding) > 1:
            holding = [folder for folder in holding if split_in_name(folder.name) == split] or holding
        if len(holding) > 1:
            raise UserError(f"{table}: its images may lie in {holding[0]} or in {holding[1]}; move one of them away")
        if holding:
            return holding[0]
    raise UserError(f"{table}: its images, such as {names[0]!r}, are neither beside it nor in a folder there or above")


def _folders(path: Path) -> list[Path]:
    if not path.is_dir():
        return []
    return sorted(inside for inside in path.iterdir() if inside.is_dir() and not inside.name.startswith("."))
