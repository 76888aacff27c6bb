import base64
import hashlib
import json
import struct
import zlib
from pathlib import Path

import pytest

from pipeline import source_lock
from pipeline.errors import UserError
from pipeline.source_lock import Batch, BatchMaker, FileDigest, Members, Pin
from pipeline.sources import SourceFile


def stored(name: str, data: bytes) -> SourceFile:
    return SourceFile(name=name, label="cat", split=None, read=lambda: data)


ONE = source_lock.digest_of(stored("cat/1.png", b"one"))
TWO = source_lock.digest_of(stored("größe/2.png", b"zwei"))


def make_batch(*files: FileDigest) -> Batch:
    with BatchMaker() as maker:
        for file in files:
            maker.add(file)
        return maker.batch()


def make_members(*batches: list[FileDigest]) -> Members:
    return Members.join(b"".join(map(source_lock.record_of, files)) for files in batches)


def pin() -> Pin:
    return Pin("in", (make_batch(ONE), make_batch(TWO)), make_members([ONE], [TWO]))


def files(**content: bytes) -> list[SourceFile]:
    names = {"one": "cat/1.png", "two": "größe/2.png", "new": "cat/new.png"}
    return [stored(names[key], data) for key, data in content.items()]


def test_a_batch_by_hand() -> None:
    assert (ONE.size, ONE.sha256) == (3, hashlib.sha256(b"one").hexdigest())
    batch = make_batch(TWO, ONE)
    assert batch == make_batch(ONE, TWO)
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


@pytest.mark.parametrize("lines", [1, 7, 100, 1000])
def test_the_digest_is_that_of_all_lines_sorted_however_many_fit_into_memory(
    lines: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_lock, "_RUN_LINES", lines)
    monkeypatch.setattr(source_lock, "_BLOCK_LINES", 3)
    names = [f"größe\n{number * 37 % 100}" for number in range(100)]  # 37 and 100 have no common factor
    sha256 = hashlib.sha256(b"").hexdigest()
    found = make_batch(*(FileDigest(name, 2, sha256) for name in names))
    expected = "".join(sorted(f"{name}\t2\t{sha256}\n" for name in names))
    assert found == Batch(100, 200, "sha256:" + hashlib.sha256(expected.encode()).hexdigest())


def test_a_thousand_files_are_found_again_and_others_are_not() -> None:
    batches = [[FileDigest(f"{batch}/{number}", 1, f"{number:064x}") for number in range(250)] for batch in range(4)]
    known = Pin("in", (make_batch(),) * 4, make_members(*batches))
    for batch, inside in enumerate(batches):
        assert [known.batch_of(file.name) for file in inside] == [batch] * 250
    assert [known.batch_of(f"{batch}/250") for batch in range(4)] == [None] * 4
    assert known.batch_of("") is Pin("none", (), Members.join([])).batch_of("0/0") is None
    stored_bytes = sum(getattr(known.members, name).nbytes for name in ("names", "contents", "numbers"))
    assert stored_bytes == 13 * 1000


def test_names_whose_hashes_begin_alike_are_both_kept() -> None:
    record = struct.Struct(">HII").pack  # name hash, in two parts, and content hash
    batches = [record(0, 5, 1) + record(0, 5, 2), record(0, 4, 3) + record(1, 5, 4)]
    members = Members.join(batches)
    assert members.names.tolist() == [4, 5, 5, 2**32 + 5]
    assert members.contents.tolist() == [3, 1, 2, 4]
    assert members.numbers.tolist() == [1, 0, 0, 1]
    assert [members.of_batch(number) for number in range(3)] == [*batches, b""]
    assert [members.holds(slice(1, 3), record(0, 5, content)) for content in (1, 2, 3)] == [True, True, False]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    pins = {"ingest": pin(), "ingest_source": Pin("none", (), Members.join([]))}
    path = tmp_path / "source.json"
    path.write_text(json.dumps(source_lock.to_json(pins)), encoding="utf-8")
    found = source_lock.read(path)
    assert found == pins
    for name in ("names", "contents", "numbers"):
        assert getattr(found["ingest"].members, name).tolist() == getattr(pin().members, name).tolist()
    assert source_lock.to_json(found) == source_lock.to_json(pins)


def read(numbers: set[int], here: list[SourceFile]) -> list[tuple[int, str, bytes]]:
    return [(number, file.name, data) for number, file, data in source_lock.pinned(pin(), numbers, here)]


def test_pinned_reads_the_files_of_the_batches_asked_for_in_one_pass() -> None:
    here = files(two=b"zwei", new=b"new", one=b"one")
    assert read({0}, here) == [(0, "cat/1.png", b"one")]
    assert read({1}, here) == [(1, "größe/2.png", b"zwei")]
    assert read({0, 1}, here) == [(1, "größe/2.png", b"zwei"), (0, "cat/1.png", b"one")]
    assert read(set(), here) == []


@pytest.mark.parametrize("content", [{"two": b"zwei"}, {"one": b"eno", "two": b"zwei"}], ids=["gone", "changed"])
def test_pinned_refuses_what_is_gone_or_changed(content: dict[str, bytes]) -> None:
    with pytest.raises(UserError, match=r"^in: no longer holds what source\.json pins as batch 0 \(1 files, sha256:"):
        read({0, 1}, files(**content))


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
