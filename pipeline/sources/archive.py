"""A zip or tar archive of an ImageFolder, read in place: nothing is unpacked to disk.

A tar may be packed by gzip, bzip2, xz or zstd. Archives are hostile until shown otherwise: see `_tar`.
"""

import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path, PurePosixPath

from pipeline import sources
from pipeline.errors import UserError
from pipeline.sources import SourceFile, _tar
from pipeline.sources._columns import refuse_made_rows, tells_origin
from pipeline.sources._tar import MAX_MEMBER_BYTES, refuse_bomb, refuse_hostile, unpacked_limit
from pipeline.sources.imagefolder import common_folder, is_image, place, split_folders

Look = Callable[[str, bytes], object]
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # encrypted, or a compression that does not exist
    OSError,
    ValueError,  # this and the next: names and numbers in a header that are none
    struct.error,
)


def accepts(source: str) -> bool:
    """True for a file that is a zip or tar archive and no WebDataset shard."""
    path = Path(source)
    return path.is_file() and (zipfile.is_zipfile(path) or _tar.is_tar(path)) and not sources.claimed(source, __name__)


def files(source: str) -> Iterator[SourceFile]:
    """The archive's images: a zip's sorted by name, a tar's in their order, since it can only be read forwards.

    Raises:
        UserError: a member that is hostile, a table that tells of made images, or no class folder.
    """
    path = Path(source)
    with opened(path, refuse_made_rows) as (names, read):
        for file in _laid_out(path, names):
            yield SourceFile(**{**vars(file), "read": partial(read, file.name)})


def opened(path: Path, look: Look | None = None) -> AbstractContextManager[tuple[list[str], Callable[[str], bytes]]]:
    """The names of an archive's images, in the order of `files`, and what reads one of them while it is open.

    Args:
        look: is shown where a table that tells of images is, and its content.

    Raises:
        UserError: the archive is damaged, or a member is hostile.
    """
    return _zipped(path, look) if zipfile.is_zipfile(path) else _tarred(path, look)


@contextmanager
def _zipped(path: Path, look: Look | None) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    try:
        archive = zipfile.ZipFile(path)
    except _DAMAGE as error:
        raise UserError(f"{path}: is a damaged archive ({error or type(error).__name__})") from None
    with archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        limit = unpacked_limit(path)
        if sum(member.file_size for member in members) > limit:
            refuse_bomb(path, limit)
        for member in members:
            is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
            refuse_hostile(path, member.filename, member.file_size, is_link)
            if look is not None and tells_origin(member.filename):
                look(f"{path}: {member.filename}", _read_zip(path, archive, member))
        by_name = {_plain(member.filename): member for member in members if is_image(member.filename)}
        yield sorted(by_name), lambda name: _read_zip(path, archive, by_name[name])


def _read_zip(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(MAX_MEMBER_BYTES + 1)
    except _DAMAGE as error:
        raise OSError(f"damaged in the archive: {error}") from None
    if len(data) > MAX_MEMBER_BYTES:
        raise UserError(f"{path}: {member.filename!r} unpacks to more than {MAX_MEMBER_BYTES} bytes")
    return data


@contextmanager
def _tarred(path: Path, look: Look | None) -> Iterator[tuple[list[str], Callable[[str], bytes]]]:
    with _tar.Stream(path) as stream:
        by_name = {}
        for member in _tar.members(path, stream):
            if is_image(member.name):
                by_name[_plain(member.name)] = member
            elif look is not None and tells_origin(member.name):
                look(f"{path}: {member.name}", _tar.read(stream, member))
        yield list(by_name), lambda name: _tar.read(stream, by_name[name])


def _plain(name: str) -> str:
    """`./a//b` is `a/b`."""
    return str(PurePosixPath(name))


def _laid_out(path: Path, names: list[str]) -> Iterator[SourceFile]:
    prefix = common_folder(names)
    has_splits = split_folders(names, prefix)
    found = 0
    for name in names:
        split, label = place(name, prefix, has_splits)
        if label is not None:
            found += 1
            yield SourceFile(name=name, label=label, split=split, read=bytes)
    if not found:
        raise UserError(f"{path}: holds no class folder; expected CLASS/IMAGE or train/CLASS/IMAGE inside")
