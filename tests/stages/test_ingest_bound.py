"""What is alike, equal or of one group is never parted by the splits, whenever it arrives."""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.images import Pixels
from tests.builders import Built, build, save, scan
from tests.decoding.test_fast import photo

SIZE = {"image_size": 32, "channels": 3}


def picture(label: int, number: int) -> Pixels:
    return photo(1000 * label + number, 32, 32)


def alike(pixels: Pixels) -> Pixels:
    """The same picture, a little brighter."""
    return cv2.convertScaleAbs(pixels, alpha=1.0, beta=4)


def folder(root: Path, counts: Mapping[str, Iterable[int]]) -> Path:
    for name, numbers in counts.items():
        label = "abc".index(name[-1])
        for number in numbers:
            save(root / name / f"{number:03d}.png", picture(label, number))
    return root


def where(built: Built) -> dict[str, str]:
    """Split of each file's name."""
    return {row.path: split for split in Built.SPLITS for row in built.split(split).rows()}


def again(source: Path, built: Built, **changes: Any) -> Built:
    scan(source, built.root)
    return build(source, built.root, scanned=True, **SIZE, **changes)


def test_look_alikes_share_a_split_and_are_counted(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a": range(40), "b": range(40)})
    for number in range(20):
        save(source / "a" / f"alike {number}.png", alike(picture(0, number)))
    split = where(built := build(source, tmp_path / "out", **SIZE))
    assert all(split[f"a/{number:03d}.png"] == split[f"a/alike {number}.png"] for number in range(20))
    assert {split[f"a/{number:03d}.png"] for number in range(20)} >= {"train", "test"}
    assert (built.metrics["near_duplicates"], built.metrics["leaks"], len(split)) == (20, 0, 100)
    apart = where(build(source, tmp_path / "two", **SIZE, near_duplicates={"max_distance": -1, "min_correlation": 0.9}))
    assert any(apart[f"a/{number:03d}.png"] != apart[f"a/alike {number}.png"] for number in range(20))


def test_a_late_look_alike_joins_the_split_of_the_first(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a": range(40), "b": range(40)})
    before = where(built := build(source, tmp_path / "out", **SIZE))
    for number in range(20):
        save(source / "a" / f"late {number}.png", alike(picture(0, number)))
    after = where(again(source, built))
    assert before.items() <= after.items()
    assert all(after[f"a/late {number}.png"] == before[f"a/{number:03d}.png"] for number in range(20))


def test_a_late_look_alike_of_images_in_two_splits_is_refused(tmp_path: Path) -> None:
    source = folder(tmp_path / "in", {"a": range(30), "b": range(30)})
    off = {"max_distance": -1, "min_correlation": 0.9}
    for number in range(30):
        save(source / "a" / f"alike {number}.png", alike(picture(0, number)))
    split = where(built := build(source, tmp_path / "out", **SIZE, near_duplicates=off))
    torn = [n for n in range(30) if {split[f"a/{n:03d}.png"], split[f"a/alike {n}.png"]} == {"train", "test"}]
    assert torn
    save(source / "a" / "late.png", alike(alike(picture(0, torn[0]))))
    # The first batch stays as it was parted; what comes now would be in both.
    scan(source, built.root)
    built = build(source, built.root, scanned=True, **SIZE)
    assert all(where(built)[f"a/{n:03d}.png"] == where(built)[f"a/alike {n}.png"] for n in range(30))


@pytest.fixture
def leaking(tmp_path: Path) -> Path:
    """Of the test images one is among the training images too, one is alike, and one is copied under another class."""
    source = folder(tmp_path / "in", {"train/a": range(20), "train/b": range(20)})
    folder(source, {"test/a": range(100, 110), "test/b": range(100, 110)})
    save(source / "test" / "a" / "copy.png", picture(0, 3))
    save(source / "test" / "a" / "alike.png", alike(picture(0, 5)))
    return source


def test_a_leak_from_the_source_s_own_test_images_is_refused_and_told(leaking: Path, tmp_path: Path) -> None:
    split = where(built := build(leaking, tmp_path / "out", **SIZE))
    assert "train/a/005.png" not in split
    assert split["test/a/alike.png"] == "test"
    assert built.metrics["leaks"] == 2
    assert [(row["name"], row["reason"]) for row in built.quarantine] == [
        ("train/a/005.png", "copy, look-alike or of one group with an image in test")
    ]
    assert Counter(split.values())["test"] == 22


def test_a_leak_may_stop_the_run(leaking: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"2 training images are held out too.*first: train/a/005.png: .*ingest\.leaks"):
        build(leaking, tmp_path / "out", **SIZE, leaks="stop")
    assert not (tmp_path / "out" / "train").exists()


def test_a_leak_may_be_kept_and_is_told_all_the_same(leaking: Path, tmp_path: Path) -> None:
    built = build(leaking, tmp_path / "out", **SIZE, leaks="keep")
    assert where(built)["train/a/005.png"] == "train"
    assert built.metrics["leaks"] == 2
    assert built.quarantine == []


def manifest(root: Path, rows: Iterable[tuple[str, str, str, str]]) -> Path:
    """A table of images: path, label, split, group."""
    with (root / "images.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "label", "split", "group"])
        table.writerows(rows)
    return root / "images.csv"


def patients(root: Path, numbers: Iterable[int]) -> list[tuple[str, str, str, str]]:
    """Four images of each patient, two of each class."""
    rows = []
    for number in numbers:
        for image in range(4):
            label = "ab"[image % 2]
            path = save(root / f"{number}-{image}.png", picture(image % 2, 10 * number + image))
            rows.append((path.name, label, "", f"patient {number}"))
    return rows


def test_a_patient_s_images_share_a_split_and_the_shares_are_kept(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = manifest(tmp_path / "in", patients(tmp_path / "in", range(40)))
    built = build(source, tmp_path / "out", **SIZE)
    of_patient: dict[str, set[str]] = {}
    for path, split in where(built).items():
        of_patient.setdefault(path.partition("-")[0], set()).add(split)
    assert all(len(splits) == 1 for splits in of_patient.values())
    counts = [built.counts(split) for split in Built.SPLITS]
    assert counts[0] == pytest.approx([56, 56], abs=4)  # 70 % of 80
    assert counts[2] == pytest.approx([16, 16], abs=4)
    assert {row.group for row in built.split("test").rows()} <= {f"patient {number}" for number in range(40)}


def test_a_patient_s_later_images_join_the_earlier_ones(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    rows = patients(root, range(30))
    source = manifest(root, rows)
    before = where(built := build(source, tmp_path / "out", **SIZE))
    new = []
    for number in range(30):
        save(root / f"{number}-late.png", picture(2, 500 + number))
        new.append((f"{number}-late.png", "a", "", f"patient {number}"))
    manifest(root, rows + new)
    after = where(again(source, built))
    assert before.items() <= after.items()
    assert all(after[f"{number}-late.png"] == before[f"{number}-0.png"] for number in range(30))


def test_a_patient_in_train_and_test_is_a_leak(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    rows = [
        (path, label, "test" if path.startswith(("1-", "2-")) else "train", g)
        for path, label, _, g in patients(root, range(12))
    ]
    rows += [(save(root / "1-more.png", picture(2, 1)).name, "a", "train", "patient 1")]
    built = build(manifest(root, rows), tmp_path / "out", **SIZE)
    assert "1-more.png" not in where(built)
    assert built.metrics["leaks"] == 1


def test_metadata_never_reaches_the_data_set(tmp_path: Path) -> None:
    source = tmp_path / "in"
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.5)
    for label in "ab":
        for number in range(8):
            (source / label).mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(picture("ab".index(label), number))
            xmp = b"<x:xmpmeta>SecretPlace</x:xmpmeta>"
            image.save(
                source / label / f"{number}.jpg",
                exif=exif,
                xmp=xmp,
                icc_profile=b"SecretProfile" * 20,
                comment=b"SecretNote",
            )
            assert b"Secret" in (source / label / f"{number}.jpg").read_bytes()
    built = build(source, tmp_path / "out", **SIZE)
    rows = [row for split in Built.SPLITS for row in built.split(split).rows()]
    assert len(rows) == 16
    for row in rows:
        assert b"Secret" not in row.image
        kinds, place = [], 8
        while place < len(row.image):
            length = int.from_bytes(row.image[place : place + 4], "big")
            kinds.append(row.image[place + 4 : place + 8])
            place += 12 + length
        assert set(kinds) == {b"IHDR", b"IDAT", b"IEND"}


def test_original_sizes_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for label in "ab":
        for number in range(6):
            save(source / label / f"{number}.png", photo(number + 10 * "ab".index(label), 40, 56))
    built = build(source, tmp_path / "out", **SIZE)
    assert {(row.source_width, row.source_height) for row in built.split("train").rows()} == {(56, 40)}


def test_a_second_night_decodes_the_new_batch_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import intake

    decoded: list[int] = []
    real = intake.decode
    monkeypatch.setattr(intake, "decode", lambda data: decoded.append(1) or real(data))
    source = folder(tmp_path / "in", {"a": range(30), "b": range(30)})
    built = build(source, tmp_path / "out", **SIZE)
    assert len(decoded) == 60
    folder(source, {"a": range(100, 105)})
    fresh = again(source, built)
    assert len(decoded) == 65
    kept = {row.path: row.id for split in Built.SPLITS for row in fresh.split(split).rows()}
    monkeypatch.setenv("COUNTERWEIGHT_CACHE", str(tmp_path / "another machine's"))
    other = build(source, built.root, scanned=True, **SIZE)
    assert len(decoded) == 130
    assert {row.path: row.id for split in Built.SPLITS for row in other.split(split).rows()} == kept


def test_what_the_cache_was_not_asked_for_in_a_month_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline import spool

    cache = tmp_path / "cache"
    monkeypatch.setenv("COUNTERWEIGHT_CACHE", str(cache))
    build(folder(tmp_path / "in", {"a": range(8), "b": range(8)}), tmp_path / "out", **SIZE)
    (entry,) = (cache / "batches").iterdir()
    used = (entry / "files" / "meta.json").stat().st_mtime
    spool.forget_unused(used + spool.KEPT_S - 1)
    assert entry.exists()
    spool.forget_unused(used + spool.KEPT_S + 1)
    assert not entry.exists()


def test_one_percent_of_new_files_is_at_most_two_percent_of_new_bytes(tmp_path: Path) -> None:
    source = tmp_path / "in"
    for number in range(1000):
        save(source / "ab"[number % 2] / f"{number}.png", photo(number, 64, 64))
    built = build(source, tmp_path / "out")
    before = {path: path.read_bytes() for path in built.root.rglob("*.parquet")}
    for number in range(1000, 1010):
        save(source / "ab"[number % 2] / f"{number}.png", photo(number, 64, 64))
    scan(source, built.root)
    build(source, built.root, scanned=True)
    after = {path: path.read_bytes() for path in built.root.rglob("*.parquet")}
    assert before.items() <= after.items()
    new = sum(len(data) for path, data in after.items() if path not in before)
    assert 0 < new <= 0.02 * sum(map(len, before.values()))
