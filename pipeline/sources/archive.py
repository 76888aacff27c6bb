"""A zip or tar archive of an ImageFolder, read in place: nothing is unpacked to disk.

Archives are hostile until shown otherwise: absolute names, `..`, links and members that unpack to more than
`MAX_MEMBER_BYTES` are refused.
"""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from pipeline.errors import UserError
from pipeline.sources import SourceFile
from pipeline.sources.imagefolder import common_folder, is_image, place, split_folders

MAX_MEMBER_BYTES = 256 * 2**20
_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,  # encrypted, or a compression that does not exist
    OSError,
)


def accepts(source: str) -> bool:
    """True for a file that is a zip or tar archive."""
    path = Path(source)
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except _DAMAGE:
        return False


def files(source: str) -> Iterator[SourceFile]:
    """The archive's images: a zip's sorted by name, a tar's in their order, since it can only be read forwards.

    Raises:
        UserError: a member that is hostile, or no class folder.
    """
    path = Path(source)
    try:
        yield from _zip_files(path) if zipfile.is_zipfile(path) else _tar_files(path)
    except _DAMAGE as error:
        raise UserError(f"{path}: is a damaged archive ({error or type(error).__name__})") from None


def _zip_files(path: Path) -> Iterator[SourceFile]:
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
            _refuse_hostile(path, member.filename, member.file_size, is_link)
        by_name = {_plain(member.filename): member for member in members if is_image(member.filename)}
        for file in _laid_out(path, sorted(by_name)):
            yield SourceFile(**{**vars(file), "read": partial(_read_zip, path, archive, by_name[file.name])})


def _read_zip(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(member) as file:
            data = file.read(MAX_MEMBER_BYTES + 1)
    except _DAMAGE as error:
        raise OSError(f"damaged in the archive: {error}") from None
    if len(data) > MAX_MEMBER_BYTES:
        raise UserError(f"{path}: {member.filename!r} unpacks to more than {MAX_MEMBER_BYTES} bytes")
    return data


def _tar_files(path: Path) -> Iterator[SourceFile]:
    with tarfile.open(path) as archive:
        members = [member for member in archive if not member.isdir()]
        _refuse_cut_off(archive)
        for member in members:
            _refuse_hostile(path, member.name, member.size, not member.isfile())
        by_name = {_plain(member.name): member for member in members if is_image(member.name)}
        for file in _laid_out(path, list(by_name)):
            yield SourceFile(**{**vars(file), "read": partial(_read_tar, archive, by_name[file.name])})


def _read_tar(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None, "a regular member has content"
    return file.read()


def _refuse_cut_off(archive: tarfile.TarFile) -> None:
    """Refuses what `tarfile` takes for the end: a damaged header, or no end at all; reads on, for gzip's checksum."""
    assert archive.fileobj is not None, "the archive is open"
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no member and no end at byte {archive.offset}")
    while archive.fileobj.read(2**20):
        pass


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


def _refuse_hostile(path: Path, name: str, size: int, is_link: bool) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or (parts and ":" in parts[0]):
        raise UserError(f"{path}: refused, since {name!r} points outside the archive")
    if is_link:
        raise UserError(f"{path}: refused, since {name!r} is a link or a device, not a file")
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{path}: refused, since {name!r} unpacks to {size} bytes, more than {MAX_MEMBER_BYTES}")
