"""Files that a list names: they must lie below the list's folder, and are read within bounds."""

import os
import stat
from functools import lru_cache
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError

MAX_FILE_BYTES = 256 * 2**20
MAX_NAME_BYTES, MAX_PART_BYTES = 4000, 255  # what Linux opens


class Folder:
    """A folder that nothing below may lead out of."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._resolved = lru_cache(4096)(os.path.realpath)

    def file(self, where: str, name: str) -> Path:
        """The file of that name, there or not.

        Raises:
            UserError: a symbolic link leads to outside the folder.
        """
        if self._leads_out(name):
            raise UserError(f"{where}: {name[:200]!r} is a link to outside its folder")
        return self._root / name

    def read(self, name: str) -> bytes:
        """The content of the file of that name.

        Raises:
            OSError: it cannot be read, or a symbolic link leads to outside the folder.
        """
        if self._leads_out(name):
            raise OSError("a link to outside its folder")
        return read_file(self._root / name)

    def _leads_out(self, name: str) -> bool:
        folder, file = os.path.split(f"{self._root}/{name}")  # pathlib would take longer than reading the file
        real = f"{self._resolved(folder)}/{file}"
        if os.path.islink(real):  # noqa: PTH114 - as above
            real = os.path.realpath(real)
        return not real.startswith(self._resolved(str(self._root)).rstrip("/") + "/")


def plain_name(where: str, name: str) -> str:
    r"""`./a//b` and `a\b` are `a/b`.

    Raises:
        UserError: the name points outside the folder that it is relative to.
    """
    if any("\ud800" <= sign <= "\udfff" for sign in name):
        raise UserError(f"{where}: {name[:200]!r} holds signs that are no Unicode")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]) or "\0" in name:
        raise UserError(f"{where}: {name[:200]!r} points outside its folder; expected a path below it, such as a/1.png")
    if len(name.encode()) > MAX_NAME_BYTES or any(len(part.encode()) > MAX_PART_BYTES for part in path.parts):
        raise UserError(f"{where}: {name[:80]!r}… is longer than a file's name can be")
    if not path.parts:
        raise UserError(f"{where}: {name[:200]!r} is no file's name")
    return str(path)


def read_file(path: Path) -> bytes:
    """The content of a regular file of at most `MAX_FILE_BYTES`.

    Raises:
        OSError: missing, too large, or a device or pipe, which might never end.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - a pipe must not block
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path.name} is no regular file")
        if status.st_size > MAX_FILE_BYTES:
            raise OSError(f"{path.name} has {status.st_size} bytes, more than {MAX_FILE_BYTES}")
        return file.read(status.st_size)
