"""What becomes of a source's files: which split, which pixels, or which reason for refusal."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from tests.builders import Built, build, digests, image_folder, picture, save, solid, tar_of, zip_of


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def left_in(root: Path) -> set[str]:
    """What is in a folder beside the lock and its params.yaml."""
    return {path.name for path in root.iterdir()} - {"params.yaml", "source.json"}


def test_digits_become_long_tailed(tmp_path: Path) -> None:
    built = build("builtin:digits", tmp_path)
    assert built.counts("train") == [40, 29, 21, 15, 11, 8, 5, 4, 3, 2]
    assert built.counts("test") == [120] * 10
    # scikit-learn holds 178 182 177 183 181 182 181 179 174 180 of the digits.
    assert built.counts("val") == [18, 33, 36, 48, 50, 54, 56, 55, 51, 58]
    assert len(built.split_of()) == 1797
    assert built.split("train").image_shape == (1, 8, 8)
    assert built.quarantine == []
    assert built.metrics["images"]["train"] == dict(zip("0123456789", built.counts("train"), strict=True))


def test_splits_are_stratified_disjoint_and_real(tmp_path: Path) -> None:
    built = build(image_folder(tmp_path / "in", {"a": 30, "b": 20, "c": 2, "d": 1}), tmp_path / "out")
    assert built.counts("train") == [21, 14, 2, 1]
    assert built.counts("val") == [3, 2, 0, 0]
    assert built.counts("test") == [6, 4, 0, 0]
    assert len(built.split_of()) == 53
    for name in ("train", "val", "test"):
        found = list(built.split(name).rows())
        assert {row.split for row in found} == {name}
        assert {row.origin for row in found} == {"real"}
        assert {(row.parent_id, row.seed, row.weight) for row in found} == {(None, None, 1.0)}


def test_beside_the_training_images_stands_what_they_were_brought_to(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 10, "b": 10})
    for changes, told in (
        ({"fit": "pad", "image_size": 20}, {"size": 20, "channels": 3, "how": "pad"}),
        ({"channels": 1}, {"size": 12, "channels": 1, "how": "crop"}),
    ):
        built = build(source, tmp_path / f"out {len(changes)}", **changes)
        assert json.loads((built.root / "train" / "shape.json").read_text()) == told
        shape = (told["channels"], told["size"], told["size"])
        assert built.split("train").image_shape == built.split("test").image_shape == shape


def test_the_seed_decides_the_split(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 30, "b": 20})
    zero, one = build(source, tmp_path / "zero"), build(source, tmp_path / "one", seed=1)
    assert zero.counts("test") == one.counts("test")
    assert zero.paths("test") != one.paths("test")


def test_given_splits_are_kept_and_what_is_missing_is_drawn_from_train(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"train/a": 10, "train/b": 5, "test/a": 2, "test/b": 3})
    built = build(source, tmp_path / "out")
    assert built.paths("test") == {f"test/a/00{n}.png" for n in range(2)} | {f"test/b/00{n}.png" for n in range(3)}
    assert built.counts("train") == [9, 4]
    assert built.counts("val") == [1, 1]


def test_equal_pictures_of_a_class_are_kept_once_whatever_the_file(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 4, "b": 4})
    shutil.copy(source / "a/000.png", source / "a/copy.png")
    Image.fromarray(picture(0, 1)).save(source / "a/other format.bmp")
    built = build(source, tmp_path / "out")
    assert built.metrics["duplicates"] == 2
    assert len(built.split_of()) == 8
    assert built.quarantine == []


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train"), ("train", "val"), ("val", "test")])
def test_a_picture_in_two_given_splits_stays_in_the_more_protected(tmp_path: Path, order: tuple[str, str]) -> None:
    source = image_folder(tmp_path / "in", {"train/a": 4, "train/b": 4, "test/b": 1, "val/b": 1})
    names = [path.relative_to(source).as_posix() for path in sorted(source.rglob("*.png"))]
    for split in order:
        save(source / split / "a" / "same.png", picture(9, 9))
        names.append(f"{split}/a/same.png")
    built = build(tar_of(source, tmp_path / "in.tar", names=names), tmp_path / "out")
    assert built.metrics["duplicates"] == 1
    (path,) = {file for file in names if file.endswith("same.png")} & set.union(*map(built.paths, Built.SPLITS))
    assert path.startswith(order[0]), "of equal files the first is kept"
    kept = {name for name in Built.SPLITS if path in built.paths(name)}
    assert kept == {max(order, key=("train", "val", "test").index)}


def test_a_picture_under_two_classes_is_quarantined(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 20, "b": 20})
    twin = source / "b" / "twin.bmp"
    Image.fromarray(picture(0, 3)).save(twin)
    built = build(source, tmp_path / "out")
    assert built.quarantine == [
        {
            "name": "b/twin.bmp",
            "reason": "same picture as one of class 'a'",
            "sha256": sha256(twin),
            "bytes": str(twin.stat().st_size),
        }
    ]
    assert len(built.split_of()) == 40


def test_a_corrupt_file_is_quarantined_and_the_run_goes_on(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 20, "b": 20})
    cut = save(source / "a" / "cut.png", (source / "a" / "000.png").read_bytes()[:200])
    empty = save(source / "b" / "empty.jpg", b"")
    text = save(source / "b" / "text.png", b"<html>404</html>")
    built = build(source, tmp_path / "out")
    reasons = {line["name"]: line["reason"] for line in built.quarantine}
    assert reasons.pop("a/cut.png").startswith("damaged: ")
    assert reasons == {"b/empty.jpg": "empty file", "b/text.png": "no image format known here"}
    assert [line["sha256"] for line in built.quarantine] == [sha256(cut), sha256(empty), sha256(text)]
    assert built.metrics["refused"] == 3
    assert len(built.split_of()) == 40


def test_what_an_archive_cannot_give_back_is_told_apart_from_an_empty_file(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 20, "b": 20})
    save(source / "b" / "empty.png", b"")
    archive = zip_of(source, tmp_path / "in.zip")
    pixels = archive.read_bytes().find((source / "a" / "003.png").read_bytes())
    with archive.open("r+b") as file:
        file.seek(pixels + 100)
        file.write(b"\xff" * 8)
    built = build(archive, tmp_path / "out")
    assert {line["name"]: line["reason"] for line in built.quarantine} == {
        "a/003.png": "cannot be read: damaged in the archive: Bad CRC-32 for file 'a/003.png'",
        "b/empty.png": "empty file",
    }


@pytest.mark.parametrize("max_bad_fraction", [0.1, 1.0])
def test_every_image_corrupt_is_one_line_and_leaves_nothing(tmp_path: Path, max_bad_fraction: float) -> None:
    for name in ("a/0.png", "a/1.png", "b/0.png"):
        save(tmp_path / "in" / name, b"nonsense")
    with pytest.raises(UserError) as caught:
        build(tmp_path / "in", tmp_path / "out", max_bad_fraction=max_bad_fraction)
    expected = {
        0.1: "in: 3 of 3 images can't be used (3 times: no image format known here; first: a/0.png), "
        "more than max_bad_fraction = 0.1 in params.yaml allows",
        1.0: "in: class 'a' has no usable training image; a/0.png: no image format known here",
    }
    assert str(caught.value) == f"{tmp_path}/{expected[max_bad_fraction]}"
    assert left_in(tmp_path / "out") == set()


def test_a_class_without_a_usable_image_is_named_with_its_own_file(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 20, "b": 20})
    save(source / "a" / "cut.png", b"")
    save(source / "owl" / "only.png", b"nonsense")
    with pytest.raises(UserError, match=r"class 'owl' has no usable training image; owl/only\.png: no image format"):
        build(source, tmp_path / "out")


def test_a_class_without_training_images_is_refused(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"train/a": 5, "train/b": 5, "test/c": 1})
    with pytest.raises(UserError, match=r"class 'c' has no usable training image$"):
        build(source, tmp_path / "out")


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds only the class 'a'; a classifier needs at least two classes"):
        build(image_folder(tmp_path / "in", {"a": 5}), tmp_path / "out")
    assert left_in(tmp_path / "out") == set()


MIXED: dict[str, tuple[Image.Image, str, list[int]]] = {
    "grey": (Image.fromarray(solid(100, 10, 10)), "png", [100, 100, 100]),
    "rgb, large": (Image.fromarray(solid((1, 2, 3), 50, 50)), "bmp", [1, 2, 3]),
    "tall": (Image.fromarray(solid((4, 5, 6), 40, 9)), "png", [4, 5, 6]),
    "wide, tiny": (Image.fromarray(solid((7, 8, 9), 2, 7)), "png", [7, 8, 9]),
    "half transparent": (Image.new("RGBA", (8, 8), (0, 100, 255, 51)), "png", [204, 224, 255]),
    "16 bit": (Image.fromarray(np.full((8, 8), 25700, np.uint16)), "png", [100, 100, 100]),
    "cmyk": (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "tif", [255, 0, 0]),
    "palette": (Image.new("RGB", (8, 8), (9, 9, 200)).quantize(2), "gif", [9, 9, 200]),
}


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_every_kind_of_image_is_brought_to_one_shape(tmp_path: Path, fit: str) -> None:
    source = image_folder(tmp_path / "in", {"plain": 3})
    for name, (image, suffix, _) in MIXED.items():
        (source / "mixed").mkdir(exist_ok=True)
        image.save(source / "mixed" / f"{name}.{suffix}")
    # "grey" and "16 bit" are one picture
    built = build(source, tmp_path / "out", image_size=8, channels=3, fit=fit)
    assert built.quarantine == []
    assert built.metrics["duplicates"] == 1
    found = {}
    for split in Built.SPLITS:
        for row, image in zip(built.split(split).rows(), built.split(split).images(), strict=True):
            assert image.shape == (8, 8, 3)
            if row.path.startswith("mixed/"):
                found[Path(row.path).stem] = image[3, 3].tolist()
                assert fit == "pad" or (image == image[0, 0]).all()
    expected = {name: colour for name, (_, _, colour) in MIXED.items() if name != "grey"}
    assert found == expected


@pytest.mark.parametrize(
    ("sides", "colour", "expected"),
    [((10, 10, 13, 99), False, (1, 12, 12)), ((9, 9), True, (3, 8, 8)), ((300, 200), False, (1, 64, 64))],
)
def test_auto_size_and_channels(
    tmp_path: Path, sides: tuple[int, ...], colour: bool, expected: tuple[int, int, int]
) -> None:
    for number, side in enumerate(sides):
        pixels = picture(0, number, side, side + 5)
        for label in "ab":
            shade = pixels[..., :1] if label == "a" else 255 - pixels[..., :1]
            save(tmp_path / "in" / label / f"{number}.png", np.repeat(shade, 3, axis=2))
    if colour:
        save(tmp_path / "in" / "b" / "colour.png", picture(0, 99, 9, 9))
    built = build(tmp_path / "in", tmp_path / "out", test_fraction=0.0, val_fraction=0.0)
    assert built.split("train").image_shape == expected


def test_equal_runs_give_equal_bytes_from_a_folder_and_a_zip(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"big cat": 12, "größe M": 7})
    save(source / "big cat" / "bad.png", b"")
    os.utime(source / "big cat" / "000.png", (10**9, 10**9))
    one, two = build(source, tmp_path / "one"), build(source, tmp_path / "two")
    packed = build(zip_of(source, tmp_path / "in.zip"), tmp_path / "packed")
    assert digests(one.root) == digests(two.root)
    for folder in (*Built.SPLITS, "quarantine"):
        assert digests(one.root / folder) == digests(packed.root / folder)


def test_nothing_of_a_failed_run_replaces_an_earlier_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = image_folder(tmp_path / "in", {"a": 6, "b": 6})
    before = digests(build(source, tmp_path / "out").root)
    (source / "a" / "000.png").unlink()
    monkeypatch.setenv("COUNTERWEIGHT_CACHE", str(tmp_path / "another machine's"))
    with pytest.raises(UserError, match="no longer holds"):
        build(source, tmp_path / "out", scanned=True)
    assert digests(tmp_path / "out") == before
