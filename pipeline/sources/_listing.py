"""From the rows of a list to files: names below a folder, each listed once."""

import hashlib
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.sources import SourceFile
from pipeline.sources._columns import Box, Facts, facts, is_known, roles
from pipeline.sources._named import Folder, plain_name, read_file
from pipeline.sources._tables import columns, rows

_ROW_BITS = 32


class Listed:
    """The names seen so far, in some 130 bytes each."""

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}

    def is_new(self, where: str, name: str, said: Facts) -> bool:
        """Whether `name` was not listed before; to list the same twice is no fault.

        Args:
            where: the row, "FILE: row 7".

        Raises:
            UserError: it was, with another label, split or group.
        """
        number = int(where.rpartition(" ")[2])
        key = hashlib.blake2b(name.encode(), digest_size=12).digest()
        fingerprint = zlib.crc32(repr(said).encode())
        before = self._seen.setdefault(key, number << _ROW_BITS | fingerprint)
        if before & (2**_ROW_BITS - 1) != fingerprint:
            raise UserError(
                f"{where}: {name[:200]!r} is listed with another label, split or group than in row "
                f"{before >> _ROW_BITS}; keep one of the two"
            )
        return before >> _ROW_BITS == number


def boxed_name(name: str, box: Box | None) -> str:
    """The name of a file, or of the part of it in `box`."""
    return name if box is None else f"{name}#{','.join(map(str, box))}"


def files(table: Path, path_name: str = "path", below: str = ".") -> Iterator[SourceFile]:
    """The files that a table names, relative to its folder, in its order; a missing one can't be read.

    Of several boxes in one file each is an image, and they stay together: the file is their group if no other is given.

    Args:
        path_name: the column that holds the path if several could.
        below: where in the source the table's folder is.

    Raises:
        UserError: a column is missing, or a row is wrong; says which.
    """
    _refuse_columns(table, path_name)
    folder, seen, number = Folder(table.parent), Listed(), 0
    for number, (where, row) in enumerate(rows(table, is_known), 1):  # noqa: B007 - it is used after the loop
        meaning = roles(str(table), tuple(row), path_name=path_name)
        said, given = facts(where, row, meaning), row.get(meaning.path or "")
        if not isinstance(given, str) or not given.strip():
            raise UserError(f"{where} names no file")
        plain = plain_name(where, given.strip())
        file = str(PurePosixPath(below) / plain)
        name, group = boxed_name(file, said.box), said.group or (file if said.box else None)
        if seen.is_new(where, name, said):
            yield SourceFile(
                name=name,
                label=said.label,
                split=said.split,
                group=group,
                box=said.box,
                read=partial(read_file, folder.file(where, plain)),
                listed=True,
            )
    if not number:
        raise UserError(f"{table}: lists no image")


def _refuse_columns(table: Path, path_name: str) -> None:
    """Checks a table's columns before its rows, of which there may be none.

    Raises:
        UserError: it has none, or lacks one.
    """
    names = columns(table)
    if not names:
        raise UserError(f"{table}: is empty; expected columns such as {path_name}, label")
    roles(str(table), tuple(names), path_name=path_name)
