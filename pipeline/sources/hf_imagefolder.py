"""A folder of images with their classes in metadata.csv, .jsonl or .parquet, as Hugging Face's `imagefolder` reads it.

The metadata lies in the folder itself or in its folders train, val and test (or those in its folder data); `file_name`
is relative to it. The split is what a column `split` says, else the folder. What our `export` writes is of this kind.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path, PurePosixPath

from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.sources import SourceFile, _listing
from pipeline.sources._named import Folder
from pipeline.sources._shards import places
from pipeline.sources._tables import columns
from pipeline.sources.imagefolder import SPLIT_FOLDERS

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def accepts(source: str) -> bool:
    """True for a folder whose metadata has a column `file_name`."""
    root = Path(source)
    return root.is_dir() and any(_names_files(table) for table in _tables(root))


def files(source: str) -> Iterator[SourceFile]:
    """The files listed, one metadata file after the other, in its order.

    Raises:
        UserError: two metadata files in one folder, a column is missing, or a row is wrong; says which.
    """
    root = Path(source)
    tables, inside = _tables(root), Folder(root)
    for one, other in combinations(tables, 2):
        if one.parent in other.parents or other.parent in one.parents:
            names = " and ".join(str(table.relative_to(root)) for table in (one, other))
            raise UserError(f"{root}: {names} list the same folder; keep one of them")
    for table in tables:
        folder = table.parent.relative_to(root).as_posix()
        inside.file(str(root), table.relative_to(root).as_posix())
        for file in _listing.files(table, "file_name", folder):
            yield replace(file, split=file.split or _split(file.name))


def _split(name: str) -> Split | None:
    """The split that the uppermost folder says."""
    parts = PurePosixPath(name).parts
    first = parts[1] if parts[0] == "data" and len(parts) > 1 else parts[0]
    return SPLIT_FOLDERS.get(first.lower())


def _tables(root: Path) -> list[Path]:
    return sorted(folder / name for folder in places(root) for name in NAMES if (folder / name).is_file())


def _names_files(table: Path) -> bool:
    """Whether a table has the column; one that cannot be read may have it, which is told when it is read."""
    try:
        return "file_name" in columns(table)
    except (UserError, OSError):
        return True
