"""`source.json`, the lock file of the data: what a source held when it was last scanned, as ordered batches.

A batch is pinned by its number of files, their bytes and a digest of (name, size, sha256) of each; never by times.
So that later batches can be told from earlier ones, each batch also keeps ten bytes a file: the beginnings of the
hashes of its name and of its content, sorted and packed.
"""

import base64
import hashlib
import heapq
import json
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UserError
from pipeline.sources import SourceFile, prepared

_NAME_BYTES, _CONTENT_BYTES = 6, 4
_RECORD = np.dtype([("name", "u1", _NAME_BYTES), ("content", f">u{_CONTENT_BYTES}")])
_RUN_LINES, _BLOCK_LINES = 10_000, 100  # lines sorted in memory, and read back at once when they are merged


@dataclass(frozen=True)
class Batch:
    """Files that were new in one scan."""

    files: int
    bytes: int
    digest: str


@dataclass(frozen=True, eq=False)
class Members:
    """The files of all batches of a source, sorted by name hash: hashes of name and content, and batch, in 13 bytes."""

    names: npt.NDArray[np.uint64]
    contents: npt.NDArray[np.uint32]
    numbers: npt.NDArray[np.unsignedinteger[Any]]

    @classmethod
    def join(cls, batches: Iterable[bytes | bytearray]) -> "Members":
        """From the records (see `record_of`) of each batch."""
        records = [np.frombuffer(batch, _RECORD) for batch in batches]
        sizes = [len(batch) for batch in records]
        names, contents = np.zeros(sum(sizes), "<u8"), np.empty(sum(sizes), np.uint32)
        for end, batch in zip(accumulate(sizes), records, strict=True):
            names[end - len(batch) : end].view("u1").reshape(-1, 8)[:, :_NAME_BYTES] = batch["name"][:, ::-1]
            contents[end - len(batch) : end] = batch["content"]
        numbers = np.repeat(np.arange(len(sizes), dtype=np.min_scalar_type(len(sizes))), sizes)
        if (names[1:] >= names[:-1]).all():
            return cls(names, contents, numbers)
        order = np.argsort(names, kind="stable")
        return cls(names[order], contents[order], numbers[order])

    def place(self, name: str) -> slice:
        """Where the file `name` is; an empty slice if it is not there."""
        key = np.uint64(int.from_bytes(_name_hash(name), "big"))
        start = end = int(self.names.searchsorted(key))
        while end < len(self.names) and self.names[end] == key:
            end += 1
        return slice(start, end)

    def holds(self, place: slice, record: bytes) -> bool:
        """Whether a file there has the content that a record says."""
        return int.from_bytes(record[_NAME_BYTES:], "big") in self.contents[place]

    def of_batch(self, number: int) -> bytes:
        """The records of one batch, sorted by name hash."""
        chosen = self.numbers == number
        records = np.empty(np.count_nonzero(chosen), _RECORD)
        records["name"] = self.names[chosen].view("u1").reshape(-1, 8)[:, _NAME_BYTES - 1 :: -1]
        records["content"] = self.contents[chosen]
        return records.tobytes()


@dataclass(frozen=True)
class Pin:
    """What one source held: its batches in order, and all their files."""

    source: str
    batches: tuple[Batch, ...]
    members: Members = field(compare=False)  # the batches' digests say what they are

    def batch_of(self, name: str) -> int | None:
        """Number of the batch that holds the file `name`, None for a file that was not there."""
        place = self.members.place(name)
        return int(self.members.numbers[place.start]) if place.start < place.stop else None


@dataclass(frozen=True)
class FileDigest:
    """Name, size and sha256 of one file."""

    name: str
    size: int
    sha256: str


def digest_of(file: SourceFile, data: bytes | None = None) -> FileDigest:
    """Measures a file's bytes, read unless given, or the identity of a computed image; and what a list says of it."""
    pinned = file.identity
    if pinned is None:
        pinned = read_bytes(file) if data is None else data
    total = hashlib.sha256(pinned)
    if file.listed:
        total.update(json.dumps([file.label, file.split, file.group]).encode())
    return FileDigest(file.name, len(pinned) if file.size is None else file.size, total.hexdigest())


class BatchMaker:
    """Pins the files of a batch, added one by one in any order; however many, they take a few MB of memory.

    The lines of name, size and sha256 are digested in sorted order: sorted runs of them go to a temporary file, and are
    merged at the end.
    """

    def __init__(self) -> None:
        self._files = self._bytes = 0
        self._lines: list[str] = []
        self._runs: list[list[tuple[int, int]]] = []  # place and size of each block of lines in the temporary file
        self._aside: IO[bytes] = TemporaryFile()  # noqa: SIM115 - it lasts as long as the maker

    def __enter__(self) -> "BatchMaker":
        return self

    def __exit__(self, *_: object) -> None:
        self._aside.close()

    def add(self, file: FileDigest) -> None:
        """Takes in one file."""
        self._files += 1
        self._bytes += file.size
        self._lines.append(f"{file.name}\t{file.size}\t{file.sha256}\n")
        if len(self._lines) >= _RUN_LINES:
            self._put_aside()

    def batch(self) -> Batch:
        """The pin of the files added so far."""
        total = hashlib.sha256()
        for line in heapq.merge(sorted(self._lines), *map(self._read, self._runs)):
            total.update(line.encode())
        return Batch(self._files, self._bytes, f"sha256:{total.hexdigest()}")

    def _put_aside(self) -> None:
        self._lines.sort()
        run = []
        for start in range(0, len(self._lines), _BLOCK_LINES):
            block = json.dumps(self._lines[start : start + _BLOCK_LINES]).encode()
            run.append((self._aside.tell(), len(block)))
            self._aside.write(block)
        self._aside.flush()
        self._runs.append(run)
        self._lines = []

    def _read(self, run: list[tuple[int, int]]) -> Iterator[str]:
        for place, size in run:
            yield from json.loads(os.pread(self._aside.fileno(), size, place))


def record_of(file: FileDigest) -> bytes:
    """The beginnings of the sha256 of a file's name, and of the sha256 of its content."""
    return _name_hash(file.name) + bytes.fromhex(file.sha256[: 2 * _CONTENT_BYTES])


def _name_hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:_NAME_BYTES]


def read(path: Path) -> dict[str, Pin]:
    """Pins by stage name (`ingest`, `ingest_source`).

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {stage: _pin(content[stage], content["members"][stage]) for stage in content["members"]}
    except FileNotFoundError:
        raise UserError(f"{path}: is missing; `python -m pipeline scan` writes it") from None
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise UserError(f"{path}: is damaged ({error!r}); `python -m pipeline scan --renew` writes it anew") from None


def to_json(pins: dict[str, Pin]) -> dict[str, Any]:
    """The file's content; DVC depends on the pins, the members stand apart from them."""
    content: dict[str, Any] = {
        stage: {"source": pin.source, "batches": [asdict(batch) for batch in pin.batches]}
        for stage, pin in pins.items()
    }
    content["members"] = {
        stage: [
            base64.b64encode(zlib.compress(pin.members.of_batch(number), 9)).decode()
            for number in range(len(pin.batches))
        ]
        for stage, pin in pins.items()
    }
    return content


def pinned(pin: Pin, numbers: Collection[int], files: Iterable[SourceFile]) -> Iterator[tuple[int, SourceFile, bytes]]:
    """Reads the files of the batches `numbers` in one pass, in the source's order; each with its batch's number.

    Raises:
        UserError: after the last file, if the source no longer holds exactly what is pinned.
    """
    with ExitStack() as stack:
        seen = {number: stack.enter_context(BatchMaker()) for number in sorted(numbers)}
        found = ((number, file) for file in files if (number := pin.batch_of(file.name)) in seen)
        for number, file in prepared(found):
            assert number is not None
            data = read_bytes(file)
            seen[number].add(digest_of(file, data))
            yield number, file, data
        for number, maker in seen.items():
            _refuse_other(pin, number, maker.batch())


def _refuse_other(pin: Pin, number: int, now: Batch) -> None:
    then = pin.batches[number]
    if now != then:
        raise UserError(
            f"{pin.source}: no longer holds what source.json pins as batch {number} ({then.files} files, "
            f"{then.digest[:19]}…; found {now.files} files, {now.digest[:19]}…); restore it, or pin what is there now "
            "with `python -m pipeline scan --renew`"
        )


def read_bytes(file: SourceFile) -> bytes:
    """A file's bytes; a file that can't be read counts as empty, so that it is quarantined."""
    try:
        return file.read()
    except OSError:
        return b""


def _pin(stage: dict[str, Any], packed: list[str]) -> Pin:
    batches = tuple(Batch(**batch) for batch in stage["batches"])
    records = (zlib.decompress(base64.b64decode(text, validate=True)) for text in packed)
    return Pin(stage["source"], batches, Members.join(records))
