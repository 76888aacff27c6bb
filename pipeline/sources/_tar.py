"""Tar archives, plain or packed by gzip, bzip2, xz or zstd, read forwards and within bounds; nothing goes to disk.

Archives are hostile until shown otherwise: names that point outside, links, devices, and what unpacks to absurdly much
are refused in one line.
"""

import bz2
import gzip
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import IO, Any, NamedTuple, cast

from pipeline.errors import UserError

MAX_MEMBER_BYTES = 256 * 2**20
MAX_TOTAL_BYTES = 2**40
MAX_RATIO = 200  # unpacked over packed bytes; images hardly shrink, bombs do so a thousandfold
FREE_BYTES = 2**30  # may be unpacked whatever the ratio
MAX_MEMBERS = 5_000_000
CHUNK = 2**20
_MAX_ZSTD_WINDOW = 2**27  # what `zstd -d` accepts unasked
_OPEN: dict[str, Any] = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_DAMAGE = (
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    ValueError,  # this and the next three: numbers in a header that are none, or headers without end
    IndexError,
    OverflowError,
    RecursionError,
)


class Member(NamedTuple):
    """A file in a tar: its name, and where its content lies in the unpacked stream."""

    name: str
    offset: int
    size: int


class Stream:
    """The bytes of a tar, unpacked as they are read; to go back in a packed one it starts anew.

    No read is larger than `CHUNK`, since `tarfile` would take a header of any size into memory.

    Attributes:
        last: what was read last.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._limit = path, unpacked_limit(path)
        self._file, self._is_packed = _opened(path)
        self._at, self.last = 0, b""

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._file.close()

    def tell(self) -> int:
        """Where the next read begins."""
        return self._at

    def seek(self, to: int) -> None:
        """Goes to a place in the unpacked bytes, or to their end if there are fewer."""
        self._refuse_beyond(to)
        if not self._is_packed:
            self._at = self._file.seek(to)
            return
        if to < self._at:
            self._file.close()
            self._file, self._at = _opened(self._path)[0], 0
        while self._at < to and self.read(min(CHUNK, to - self._at)):
            pass

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        if not 0 <= size <= CHUNK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        data: bytes = self._file.read(size)
        self._at += len(data)
        self._refuse_beyond(self._at)
        self.last = data
        return data

    def _refuse_beyond(self, place: int) -> None:
        if place > self._limit:
            refuse_bomb(self._path, self._limit)


def unpacked_limit(path: Path) -> int:
    """How many bytes an archive may unpack to."""
    return min(MAX_TOTAL_BYTES, max(FREE_BYTES, MAX_RATIO * path.stat().st_size))


def refuse_bomb(path: Path, limit: int) -> None:
    """Stops at an archive that unpacks to too much.

    Raises:
        UserError: always.
    """
    raise UserError(f"{path}: refused, since it unpacks to more than {limit} bytes")


def is_tar(path: Path) -> bool:
    """Whether a file begins like a tar, packed or not."""
    try:
        with Stream(path) as stream:
            _archive(stream)
    except _DAMAGE:
        return False
    return True


def members(path: Path, stream: Stream) -> Iterator[Member]:
    """The files in a tar, in its order.

    Raises:
        UserError: the archive is damaged, or a member is hostile, or they are too many or too large.
    """
    for count, info in enumerate(_headers(path, stream), 1):
        if count > MAX_MEMBERS:
            raise UserError(f"{path}: refused, since it holds more than {MAX_MEMBERS} members")
        if not info.isdir():
            refuse_hostile(path, info.name, info.size, not info.isfile() or info.sparse is not None)
            yield Member(info.name, info.offset_data, info.size)


def read(stream: Stream, member: Member) -> bytes:
    """The content of a member.

    Raises:
        OSError: it is cut off or damaged.
    """
    parts, left = [], member.size
    try:
        stream.seek(member.offset)
        while left:
            parts.append(stream.read(min(left, CHUNK)))
            left -= len(parts[-1])
            if not parts[-1]:
                raise OSError("cut off")
    except UserError:
        raise
    except _DAMAGE as error:
        raise OSError(f"damaged in the archive: {error}") from None
    return b"".join(parts)


def refuse_hostile(path: Path, name: str, size: int, is_special: bool) -> None:
    """Stops at a member that no honest archive of images has.

    Raises:
        UserError: it points outside the archive, is no plain file, or is too large.
    """
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or (parts and ":" in parts[0]) or "\0" in name:
        raise UserError(f"{path}: refused, since {name!r} points outside the archive")
    if is_special:
        raise UserError(f"{path}: refused, since {name!r} is a link or a device, not a file")
    if size > MAX_MEMBER_BYTES:
        raise UserError(f"{path}: refused, since {name!r} unpacks to {size} bytes, more than {MAX_MEMBER_BYTES}")


def _headers(path: Path, stream: Stream) -> Iterator[tarfile.TarInfo]:
    """The headers of all members, of which no more than one is in memory."""
    with _told(path):
        archive = _archive(stream)
    last = -1
    while True:
        with _told(path):
            info = archive.next()
            if info is None:
                _refuse_cut_off(archive, stream)
                return
            vars(archive)["members"].clear()  # or it would keep them all
            if info.offset <= last or info.size < 0:
                raise tarfile.ReadError(f"the header at byte {info.offset} leads backwards")
        last = info.offset
        yield info


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Says in one line what is wrong with an archive."""
    try:
        yield
    except UserError:
        raise
    except _DAMAGE as error:
        raise UserError(f"{path}: is a damaged archive ({error or type(error).__name__})") from None


def _archive(stream: Stream) -> tarfile.TarFile:
    return tarfile.TarFile(fileobj=cast("IO[bytes]", stream))


def _opened(path: Path) -> tuple[Any, bool]:
    """The unpacked bytes as a file, and whether they are packed at all."""
    file = path.open("rb")
    magic = file.read(6)
    file.seek(0)
    kind = next((kind for start, kind in _MAGIC.items() if magic.startswith(start)), None)
    if kind is None:
        return file, False
    if kind == "zstd":
        import zstandard

        unpack = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
        return _Zstd(unpack.stream_reader(file, read_across_frames=True, closefd=True)), True
    file.close()
    return _OPEN[kind](path, "rb"), True


class _Zstd:
    """A zstd stream whose errors are the archive's."""

    def __init__(self, reader: Any) -> None:
        self._reader = reader
        self.close = reader.close

    def read(self, size: int) -> bytes:
        import zstandard

        try:
            data: bytes = self._reader.read(size)
        except zstandard.ZstdError as error:
            raise tarfile.ReadError(str(error)) from None
        return data


def _refuse_cut_off(archive: tarfile.TarFile, stream: Stream) -> None:
    """Refuses what `tarfile` takes for the end: a damaged header, or no end at all; reads on, for gzip's checksum."""
    if stream.last != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError(f"no member and no end at byte {archive.offset}")
    while stream.read(CHUNK):
        pass
