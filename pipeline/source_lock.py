"""`source.json`, the lock file of the data: what a source held when it was last scanned, as ordered batches.

A batch is pinned by its number of files, their bytes and a digest of (name, size, sha256) of each; never by times.
So that later batches can be told from earlier ones, each batch also keeps ten bytes a file: the beginnings of the
hashes of its name and of its content, sorted and packed.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.sources import SourceFile

_NAME_BYTES, _CONTENT_BYTES = 6, 4


@dataclass(frozen=True)
class Batch:
    """Files that were new in one scan."""

    files: int
    bytes: int
    digest: str


@dataclass(frozen=True)
class Pin:
    """What one source held: its batches in order, and the members of each (name hash -> content hash)."""

    source: str
    batches: tuple[Batch, ...]
    members: tuple[dict[bytes, bytes], ...]

    def batch_of(self, name: str) -> int | None:
        """Number of the batch that holds the file `name`, None for a file that was not there."""
        key = name_hash(name)
        return next((number for number, members in enumerate(self.members) if key in members), None)


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
    return FileDigest(file.name, len(pinned), total.hexdigest())


def make_batch(files: Iterable[FileDigest]) -> Batch:
    """The pin of a set of files, whatever their order."""
    lines = sorted(f"{file.name}\t{file.size}\t{file.sha256}\n" for file in files)
    total = sum(int(line.rsplit("\t", 2)[1]) for line in lines)
    return Batch(len(lines), total, "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest())


def make_members(files: Iterable[FileDigest]) -> dict[bytes, bytes]:
    """Name hash -> content hash of a batch's files."""
    return {name_hash(file.name): bytes.fromhex(file.sha256)[:_CONTENT_BYTES] for file in files}


def name_hash(name: str) -> bytes:
    """The beginning of the sha256 of a file's name."""
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
    content["members"] = {stage: [_pack(members) for members in pin.members] for stage, pin in pins.items()}
    return content


def pinned(pin: Pin, number: int, files: Iterable[SourceFile]) -> Iterator[tuple[SourceFile, bytes]]:
    """Reads the files of batch `number`, in the source's order.

    Raises:
        UserError: after the last file, if the source no longer holds exactly what is pinned.
    """
    seen = []
    for file in files:
        if pin.batch_of(file.name) == number:
            data = read_bytes(file)
            seen.append(digest_of(file, data))
            yield file, data
    now, then = make_batch(seen), pin.batches[number]
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
    return Pin(stage["source"], batches, tuple(_unpack(text) for text in packed))


def _pack(members: dict[bytes, bytes]) -> str:
    return base64.b64encode(zlib.compress(b"".join(k + v for k, v in sorted(members.items())), 9)).decode()


def _unpack(text: str) -> dict[bytes, bytes]:
    data = zlib.decompress(base64.b64decode(text, validate=True))
    step = _NAME_BYTES + _CONTENT_BYTES
    return {data[i : i + _NAME_BYTES]: data[i + _NAME_BYTES : i + step] for i in range(0, len(data), step)}
