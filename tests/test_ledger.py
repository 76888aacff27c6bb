"""What the ledger keeps of an image, and what it asks the disk for; what it decides is tested through ingest."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import ledger, source_lock, spool
from pipeline.images import Shape
from pipeline.ledger import Alike, Ledger
from pipeline.near_duplicates import first_equal
from pipeline.splits import SplitAssigner
from pipeline.spool import Spool
from tests.builders import image_folder, picture, save, scan

ARRAYS = ("_keys", "_hashes", "_compared", "_label_of", "_split_of")


def obtain(source: Path, root: Path) -> list[Spool]:
    pin = source_lock.read(scan(source, root))["ingest"]
    return spool.obtain_all(pin, Shape(12, 3, "crop"), "test")


def new_ledger() -> Ledger:
    assigner = SplitAssigner(seed=0, val_fraction=0.2, test_fraction=0.2)
    return Ledger(assigner, Alike(max_distance=4, min_correlation=0.9), refuse_leaks=True)


def test_an_image_costs_nineteen_bytes(tmp_path: Path) -> None:
    (batch,) = obtain(image_folder(tmp_path / "in", {"a": 40, "b": 60}), tmp_path / "out")
    book = new_ledger()
    placed = book.place(batch)
    assert np.bincount(placed).tolist() == [60, 20, 20]
    assert sum(getattr(book, name).nbytes for name in ARRAYS) == 19 * 100


def test_only_the_whole_hash_makes_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = image_folder(tmp_path / "in", {"a": 8, "b": 8})
    save(source / "a" / "copy.png", picture(0, 0))
    (batch,) = obtain(source, tmp_path / "out")
    monkeypatch.setattr(ledger, "first_equal", lambda keys, start: first_equal(keys * np.uint64(0), start))  # all alike
    book = new_ledger()
    assert np.flatnonzero(book.place(batch) == ledger.DROPPED).tolist() == [8]
    assert book.tally.duplicates == 1


def test_of_refused_files_the_facts_are_looked_up_in_their_order(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 8, "b": 8})
    for name, number in (("b/twin 1.png", 5), ("b/twin 0.png", 2)):
        save(source / name, picture(0, number))
    book = new_ledger()
    for batch in obtain(source, tmp_path / "out"):
        book.place(batch)
    assert [(refused.name, refused.reason, refused.bytes) for refused in book.tally.refused] == [
        (name, "same picture as one of class 'a'", (source / name).stat().st_size)
        for name in ("b/twin 0.png", "b/twin 1.png")
    ]
