"""Batches on disk: how often a source is listed for them, and what is read back of them."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline import intake, source_lock, sources, spool
from pipeline.images import Shape
from pipeline.near_duplicates import perceptual_hash, thumbnail
from pipeline.source_lock import Batch, Members, Pin
from pipeline.sources import SourceFile
from pipeline.spool import Spool
from tests.builders import build, digests, image_folder, picture, save, scan
from tests.decoding.test_fast import photo

SHAPE = Shape(12, 3, "crop")


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """For each listing of a source the names of the files that were read."""
    found: list[list[str]] = []
    files = sources.files

    def noting(source: str) -> Iterator[SourceFile]:
        found.append([])
        for file in files(source):
            yield SourceFile(**{**vars(file), "read": lambda file=file: found[-1].append(file.name) or file.read()})

    monkeypatch.setattr(sources, "files", noting)
    return found


@pytest.fixture
def nights(tmp_path: Path) -> Path:
    """A source of three batches, pinned in `tmp_path`/out."""
    source = tmp_path / "in"
    for night, counts in enumerate(({"b": 6, "c": 6}, {"a": 3, "c": 2}, {"b": 1, "a": 4})):
        image_folder(source, counts, start=100 * night)
        scan(source, tmp_path / "out")
    return source


def obtain(root: Path, shape: Shape = SHAPE) -> list[Spool]:
    return spool.obtain_all(source_lock.read(root / "source.json")["ingest"], shape, "test")


def test_all_batches_are_built_in_one_listing_and_later_the_new_one_only(
    nights: Path, tmp_path: Path, listings: list[list[str]]
) -> None:
    first = obtain(tmp_path / "out")
    assert [len(names) for names in listings] == [sum(len(batch.hashes) for batch in first)]
    assert obtain(tmp_path / "out") == first
    assert len(listings) == 1
    save(nights / "a" / "new.png", picture(0, 999))
    scan(nights, tmp_path / "out")
    listings.clear()
    assert obtain(tmp_path / "out")[:-1] == first
    assert listings == [["a/new.png"]]


def test_together_or_one_by_one_the_data_set_is_the_same_to_the_byte(
    nights: Path, tmp_path: Path, listings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for number, limit in enumerate((spool.PENDING_BYTES, 1)):
        monkeypatch.setattr(spool, "PENDING_BYTES", limit)
        monkeypatch.setenv("COUNTERWEIGHT_CACHE", str(tmp_path / f"cache {number}"))
        listings.clear()
        build(nights, tmp_path / "out", scanned=True, image_size=12, channels=3)
        found.append(digests(tmp_path / "out"))
        assert len(listings) == (1, 3)[number]
    assert found[0] == found[1]


def test_a_pass_takes_no_more_than_may_wait_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = (10_000, 3, 500, 501, 400, 100, 1)
    pin = Pin("in", tuple(Batch(size, 0, "") for size in sizes), Members.join([]))
    monkeypatch.setattr(spool, "PENDING_BYTES", 1000 * 4 * 4 * 3)  # of two row groups
    all_of_them = list(range(len(sizes)))
    assert spool._passes(pin, all_of_them, Shape(4, 3, "crop")) == [[0, 1], [2, 3], [4, 5, 6]]
    assert spool._passes(pin, all_of_them, Shape(400, 3, "crop")) == [[number] for number in all_of_them]
    monkeypatch.setattr(spool, "MOST_AT_ONCE", 2)
    assert spool._passes(pin, [2, 4, 5, 6], Shape(1, 1, "crop")) == [[2, 4], [5, 6]]
    assert spool._passes(pin, [], SHAPE) == []


def test_what_is_told_of_a_batch(tmp_path: Path) -> None:
    pictures = {name: photo(number, 32, 32) for number, name in enumerate(("val/b/0", "train/a/1", "train/b/2"))}
    for name, pixels in pictures.items():
        save(tmp_path / "in" / f"{name}.png", pixels)
    save(tmp_path / "in" / "train" / "c" / "bad.png", b"nonsense")
    scan(tmp_path / "in", tmp_path / "out")
    (batch,) = obtain(tmp_path / "out", Shape(32, 3, "crop"))
    names = ["train/a/1", "train/b/2", "val/b/0"]
    assert batch.classes == ("a", "b", "c")
    assert [refused.name for refused in batch.refused] == ["train/c/bad.png"]
    label, hint, group = (batch.codes(column) for column in ("label", "hint", "group"))
    assert [label.texts[number] for number in label.numbers] == ["a", "b", "b"]
    assert [hint.texts[number] for number in hint.numbers] == ["train", "train", "val"]
    assert (group.numbers.tolist(), group.texts) == ([-1, -1, -1], ())
    hashes = np.concatenate(list(batch.hashes.blocks()))
    assert hashes["picture"].tolist() == [perceptual_hash(thumbnail(pictures[name])) for name in names]
    rows = list(batch.rows(("b", "c", "a")))
    assert [row.label for row in rows] == [2, 0, 0]
    assert [pixels.tobytes().hex() for pixels in hashes["pixels"]] == [row.pixel_hash for row in rows]
    np.testing.assert_array_equal(
        batch.thumbnails.take(np.array([2, 0])), [thumbnail(pictures[names[2]]), thumbnail(pictures[names[0]])]
    )
    data = (tmp_path / "in" / "val" / "b" / "0.png").read_bytes()
    assert list(batch.told(np.array([2]))) == [
        {"name": "val/b/0.png", "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    ]


def test_records_of_several_batches_are_counted_on(nights: Path, tmp_path: Path) -> None:
    batches = obtain(tmp_path / "out")
    starts = np.cumsum([0, *(len(batch.hashes) for batch in batches)])[:-1].tolist()
    every = [batch.hashes.take(np.arange(len(batch.hashes))) for batch in batches]
    rows = np.array([0, 18, 12, 11, 4, 21, 12])
    found = spool.take(list(zip(starts, batches, strict=True)), "hashes", rows)
    assert starts == [0, 12, 17]
    assert found.tobytes() == np.concatenate(every)[rows].tobytes()


def test_a_batch_that_does_not_end_well_is_not_kept(
    nights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_CACHE", str(tmp_path / "cache"))
    decode, left = intake.decode, [15]

    def stopping(data: bytes) -> np.ndarray:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return decode(data)

    monkeypatch.setattr(intake, "decode", stopping)
    with pytest.raises(KeyboardInterrupt):
        obtain(tmp_path / "out")
    assert list((tmp_path / "cache" / "batches").iterdir()) == []
