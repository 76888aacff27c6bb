"""A folder with one folder of images a class, with or without `train`, `val` and `test` above them."""

import os
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path, PurePosixPath

from pipeline import sources
from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.images import SUFFIXES
from pipeline.sources import SourceFile
from pipeline.sources._named import Folder

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


def accepts(source: str) -> bool:
    """True for a folder that no other kind accepts."""
    return Path(source).is_dir() and not sources.claimed(source, __name__)


def files(source: str) -> Iterator[SourceFile]:
    """The folder's images, sorted by name; a link to outside or to nothing, or a pipe, can't be read.

    Raises:
        UserError: no class folder, a class folder without an image, or a folder that can't be listed or is a link.
    """
    root, inside = Path(source), Folder(Path(source))
    names = [name for name in file_names(root) if is_image(name)]
    prefix = common_folder(names)
    has_splits = split_folders(names, prefix)
    _refuse_empty_classes(root, prefix, has_splits, {place(name, prefix, has_splits)[1] for name in names})
    for name in sorted(names):
        split, label = place(name, prefix, has_splits)
        if label is not None:
            yield SourceFile(name=name, label=label, split=split, read=partial(inside.read, name))


def common_folder(names: list[str]) -> str:
    """The one folder that everything lies in (as in most archives) when it is no class and no split; else ''."""
    firsts = {_parts(name)[0] for name in names}
    depths = {len(_parts(name)) for name in names}
    if len(firsts) == 1 and min(depths, default=0) >= 3 and not split_folders(names, ""):
        return next(iter(firsts)) + "/"
    return ""


def split_folders(names: list[str], prefix: str) -> bool:
    """Whether the folders below `prefix` are splits rather than classes.

    Raises:
        UserError: there are `train` and another split, and beside them a folder that is neither.
    """
    firsts = {_parts(name.removeprefix(prefix))[0] for name in names}
    splits = {SPLIT_FOLDERS[first.lower()] for first in firsts if first.lower() in SPLIT_FOLDERS}
    others = sorted(first for first in firsts if first.lower() not in SPLIT_FOLDERS)
    if others and len(splits) > 1 and "train" in splits:
        raise UserError(
            f"the source holds the splits {', '.join(sorted(splits))} and beside them {others[0]!r}: "
            "move it away, or into a split"
        )
    return "train" in splits and not others


def place(name: str, prefix: str, has_splits: bool) -> tuple[Split | None, str | None]:
    """Split and class that a file's folders say; no class for a file that lies outside a class folder."""
    parts = _parts(name.removeprefix(prefix))
    split = SPLIT_FOLDERS[parts[0].lower()] if has_splits else None
    inner = parts[1:] if has_splits else parts
    return split, inner[0] if len(inner) >= 2 else None


def file_names(root: Path) -> Iterator[str]:
    """Names of all files below a folder, hidden folders left out.

    Raises:
        UserError: a folder can't be listed or is a link.
    """
    for folder, folders, inside in os.walk(root, onerror=_refuse_unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(folder) / name for name in folders):
            if path.is_symlink():
                raise UserError(f"{path}: is a link to a folder, which is not followed; put the folder itself there")
        below = Path(folder).relative_to(root)
        yield from ((below / "x").as_posix()[:-1] + name for name in inside)


def _refuse_unlisted(error: OSError) -> None:
    """Stops at a folder that can't be listed, rather than leave out what is in it and say nothing."""
    raise UserError(f"{error.filename}: the folder cannot be listed ({error.strerror}); allow it, or move it away")


def is_image(name: str) -> bool:
    """Whether a file's name says that it is an image."""
    folder, _, file = name.rpartition("/")
    stem, dot, ending = file.rpartition(".")
    return bool(stem) and (dot + ending).lower() in SUFFIXES and not _is_hidden(folder) and not file.startswith(".")


def _parts(name: str) -> tuple[str, ...]:
    """The folders of a name, and the file's own."""
    folder, _, file = name.rpartition("/")
    return (*_folder_parts(folder), file)


@lru_cache(4096)
def _folder_parts(folder: str) -> tuple[str, ...]:
    return PurePosixPath(folder).parts


@lru_cache(4096)
def _is_hidden(folder: str) -> bool:
    return any(part.startswith(".") for part in _folder_parts(folder))


def _refuse_empty_classes(root: Path, prefix: str, has_splits: bool, filled: set[str | None]) -> None:
    top = root / prefix
    parents = [path for path in _folders(top) if path.name.lower() in SPLIT_FOLDERS] if has_splits else [top]
    labels = {folder.name for parent in parents for folder in _folders(parent)}
    empty = sorted(labels - filled)
    if empty:
        raise UserError(f"{root}: class {empty[0]!r} holds no image; remove its folder or add images to it")
    if not labels:
        raise UserError(f"{root}: holds no class folder; expected {root}/CLASS/IMAGE, or {root}/train/CLASS/IMAGE")


def _folders(path: Path) -> list[Path]:
    return [inside for inside in path.iterdir() if inside.is_dir() and not inside.name.startswith(".")]
