"""Folders of shards: where they lie, and which split their names say they are of."""

import re
from collections.abc import Iterable
from pathlib import Path

from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.sources._named import Folder
from pipeline.sources.imagefolder import SPLIT_FOLDERS, is_image

_WORD = re.compile(rf"(?<![a-z])({'|'.join(SPLIT_FOLDERS)})\d*(?![a-z])")


def shards(root: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The files so named in `root`, in `root`/data and in folders named like splits in either, sorted.

    Raises:
        UserError: a symbolic link leads out of `root`.
    """
    inside = Folder(root)
    found = (path for folder in places(root) for path in folder.iterdir() if _is_shard(path.name, suffixes))
    return sorted(inside.file(str(root), path.relative_to(root).as_posix()) for path in found if path.is_file())


def has_shards(source: str, suffixes: tuple[str, ...]) -> bool:
    """Whether `source` is a folder with files so named and without class folders."""
    root = Path(source)
    if not root.is_dir():
        return False
    names = (path.name for folder in places(root) for path in folder.iterdir())
    return any(_is_shard(name, suffixes) for name in names) and not _has_class_folder(root)


def split_in_name(name: str) -> Split | None:
    """The split that a file's or folder's name says, such as train-00000-of-00002 or instances_val2017."""
    found = {SPLIT_FOLDERS[word] for word in _WORD.findall(name.lower())}
    return found.pop() if len(found) == 1 else None


def splits_of(root: Path, paths: Iterable[Path]) -> dict[Path, Split | None]:
    """The split that each shard's name says, or its folder's.

    Raises:
        UserError: some say one and some do not.
    """
    found = {path: split_in_name(path.name) or split_in_name(path.relative_to(root).parent.name) for path in paths}
    without = [path for path, split in found.items() if split is None]
    if without and len(without) < len(found):
        named = next(path for path, split in found.items() if split is not None)
        raise UserError(f"{root}: {named.name!r} is named like a split, {without[0].name!r} is not; rename one of them")
    return found


def places(root: Path) -> list[Path]:
    """Where shards and lists may lie: `root`, `root`/data, and the folders named like splits in either."""
    places = []
    for top in (root, root / "data"):
        if top.is_dir():
            places.append(top)
            places += [path for path in top.iterdir() if path.name.lower() in SPLIT_FOLDERS and path.is_dir()]
    return places


def _has_class_folder(root: Path) -> bool:
    """Whether an image lies in a folder, or in one in that: then the folder is an ImageFolder."""
    tops = [path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")]
    below = [path for top in tops for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")]
    return any(is_image(path.name) for folder in (*tops, *below) for path in folder.iterdir())


def _is_shard(name: str, suffixes: tuple[str, ...]) -> bool:
    return name.lower().endswith(suffixes) and not name.startswith((".", "metadata."))
