import base64
import hashlib
import json
import zlib
from pathlib import Path

import pytest

from pipeline import source_lock
from pipeline.errors import UserError
from pipeline.source_lock import Pin
from pipeline.sources import SourceFile


def stored(name: str, data: bytes) -> SourceFile:
    return SourceFile(name=name, label="cat", split=None, read=lambda: data)


ONE = source_lock.digest_of(stored("cat/1.png", b"one"))
TWO = source_lock.digest_of(stored("größe/2.png", b"zwei"))


def pin() -> Pin:
    batches = (source_lock.make_batch([ONE]), source_lock.make_batch([TWO]))
    return Pin("in", batches, (source_lock.make_members([ONE]), source_lock.make_members([TWO])))


def files(**content: bytes) -> list[SourceFile]:
    names = {"one": "cat/1.png", "two": "größe/2.png", "new": "cat/new.png"}
    return [stored(names[key], data) for key, data in content.items()]


def test_a_batch_by_hand() -> None:
    assert (ONE.size, ONE.sha256) == (3, hashlib.sha256(b"one").hexdigest())
    batch = source_lock.make_batch([TWO, ONE])
    assert batch == source_lock.make_batch([ONE, TWO])
    lines = "".join(f"{file.name}\t{file.size}\t{file.sha256}\n" for file in (ONE, TWO))
    assert (batch.files, batch.bytes) == (2, 7)
    assert batch.digest == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()


def test_a_computed_image_is_pinned_by_its_identity_not_its_pixels() -> None:
    computed = SourceFile(name="0/1.png", label="0", split=None, read=lambda: b"pixels", identity=b"recipe 1")
    found = source_lock.digest_of(computed, b"pixels on another processor")
    assert (found.size, found.sha256) == (8, hashlib.sha256(b"recipe 1").hexdigest())
    assert source_lock.digest_of(stored("a", b"on disk"), b"as read").sha256 == hashlib.sha256(b"as read").hexdigest()


def test_members_take_ten_bytes_a_file() -> None:
    packed = source_lock.to_json({"ingest": pin()})["members"]["ingest"][0]
    name, content = hashlib.sha256(b"cat/1.png").digest(), hashlib.sha256(b"one").digest()
    assert zlib.decompress(base64.b64decode(packed)) == name[:6] + content[:4]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    pins = {"ingest": pin(), "ingest_source": Pin("none", (), ())}
    path = tmp_path / "source.json"
    path.write_text(json.dumps(source_lock.to_json(pins)), encoding="utf-8")
    assert source_lock.read(path) == pins


def test_pinned_reads_the_files_of_one_batch() -> None:
    here = files(one=b"one", two=b"zwei", new=b"new")
    assert [(file.name, data) for file, data in source_lock.pinned(pin(), 0, here)] == [("cat/1.png", b"one")]
    assert [(file.name, data) for file, data in source_lock.pinned(pin(), 1, here)] == [("größe/2.png", b"zwei")]


@pytest.mark.parametrize("content", [{"two": b"zwei"}, {"one": b"eno", "two": b"zwei"}], ids=["gone", "changed"])
def test_pinned_refuses_what_is_gone_or_changed(content: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match=r"^in: no longer holds what source\.json pins as batch 0 \(1 files, sha256:"):
        list(source_lock.pinned(pin(), 0, files(**content)))


def test_a_file_that_cannot_be_read_counts_as_empty(tmp_path: Path) -> None:
    missing = SourceFile(name="a", label="a", split=None, read=(tmp_path / "gone.png").read_bytes)
    assert source_lock.read_bytes(missing) == b""


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"members": {"ingest": []}}',
        '{"ingest": {"source": "x", "batches": [{}]}, "members": {"ingest": []}}',
        '{"ingest": {"source": "x", "batches": []}, "members": {"ingest": ["%%"]}}',
        '{"ingest": {"source": "x", "batches": []}, "members": {"ingest": ["AAAA"]}}',
    ],
)
def test_a_damaged_lock_is_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "source.json"
    path.write_text(content)
    with pytest.raises(
        UserError, match=r"source\.json: is damaged .*; `python -m pipeline scan --renew` writes it anew$"
    ):
        source_lock.read(path)


def test_a_missing_lock_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source\.json: is missing; `python -m pipeline scan` writes it$"):
        source_lock.read(tmp_path / "source.json")
