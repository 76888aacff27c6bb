"""New images are prepared like those that a classifier was trained on, and what can't be read is told."""

import io
import os
import shutil
import struct
import warnings
import zlib
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import UserError
from pipeline.images import Shape, decode_png
from pipeline.prediction.pictures import AHEAD, Picture, Pictures
from tests.builders import build, picture, save, solid, tar_of, zip_of, zst_of

SHAPE = Shape(8, 3, "crop")


def prepared(*given: Path | str, shape: Shape = SHAPE) -> dict[str, Picture]:
    with ExitStack() as stack:
        pictures = Pictures([str(place) for place in given], stack)
        found = list(pictures.prepared(shape))
        assert len(found) == len(pictures)
    return {found.path: found for found in found}


def encoded(pixels: Any, form: str, mode: str | None = None, **options: Any) -> bytes:
    image = Image.fromarray(pixels) if mode is None else Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def odd_files() -> dict[str, bytes]:
    """Of every kind that a camera, a scanner or a drawing may leave, and some that are damaged."""
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = picture(1, 7, 9, 20)
    alpha = np.dstack([wide, np.linspace(0, 255, wide[..., 0].size).reshape(9, 20).astype(np.uint8)])
    deep = np.linspace(0, 65535, 180).reshape(9, 20).astype(np.uint16)
    jpeg = encoded(picture(0, 1, 20, 30), "JPEG")
    return {
        "turned.jpg": encoded(wide, "JPEG", exif=turned),
        "grey.png": encoded(wide[..., 0], "PNG"),
        "alpha.png": encoded(alpha, "PNG"),
        "deep.png": encoded(deep, "PNG"),
        "inks.jpg": encoded(wide, "JPEG", "CMYK"),
        "palette.gif": encoded(wide, "GIF"),
        "tall.webp": encoded(picture(2, 3, 40, 10), "WEBP", lossless=True),
        "scan.tiff": encoded(picture(2, 4, 15, 16), "TIFF"),
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "empty.png": b"",
        "nonsense.bmp": b"nonsense",
    }


@pytest.mark.parametrize("shape", [SHAPE, Shape(8, 1, "pad"), Shape(32, 3, "pad"), Shape(8, 1, "crop")], ids=str)
def test_every_kind_of_file_becomes_what_ingest_makes_of_it(tmp_path: Path, shape: Shape) -> None:
    files = odd_files()
    for name, data in files.items():
        save(tmp_path / "in" / "odd" / name, data)
        save(tmp_path / "in" / "other" / f"{name}.png", picture(3, len(name) + len(data), 11, 13))
    changes = {"image_size": shape.size, "channels": shape.channels, "fit": shape.how}
    nothing = {"val_fraction": 0.0, "test_fraction": 0.0, "max_bad_fraction": 1.0}
    built = build(tmp_path / "in", tmp_path / "out", **changes, **nothing, near_duplicates={"max_distance": -1})
    rows = {row.path: decode_png(row.image) for row in built.split("train").rows()}
    refused = {entry["name"]: entry["reason"] for entry in built.quarantine}
    found = prepared(tmp_path / "in", shape=shape)
    assert len(found) == len(rows) + len(refused) == 2 * len(files)
    assert {Path(name).name for name in refused} == {"truncated.jpg", "empty.png", "nonsense.bmp"}
    for path, got in found.items():
        name = Path(path).relative_to(tmp_path / "in").as_posix()
        assert got.problem == refused.get(name)
        if got.pixels is not None:
            assert np.array_equal(got.pixels, rows[name]), name


def test_a_file_that_is_named_is_an_image_whatever_its_ending(tmp_path: Path) -> None:
    save(tmp_path / "photo", picture(0, 0))
    assert prepared(tmp_path / "photo")[str(tmp_path / "photo")].pixels is not None


def test_below_a_folder_the_ending_counts_and_hidden_files_do_not(tmp_path: Path) -> None:
    for name in ("b.png", "a/deep/c.PNG", "a/.hidden/d.png", ".e.png"):
        save(tmp_path / "in" / name, picture(0, 0))
    save(tmp_path / "in" / "notes.txt", b"no image")
    assert list(prepared(tmp_path / "in")) == [str(tmp_path / "in" / name) for name in ("a/deep/c.PNG", "b.png")]
    assert list(prepared(f"{tmp_path}/in/")) == list(prepared(tmp_path / "in"))


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.zst"])
def test_archives_are_read_in_place(tmp_path: Path, kind: str) -> None:
    for number in range(4):
        save(tmp_path / "in" / f"{number}.png", picture(number, number))
    path = tmp_path / f"in.{kind}"
    if kind == "zip":
        zip_of(tmp_path / "in", path)
    elif kind == "tar.zst":
        path = zst_of(tar_of(tmp_path / "in", tmp_path / "in.tar"))
    else:
        tar_of(tmp_path / "in", path, mode="w:gz" if kind == "tar.gz" else "w")
    inside, outside = prepared(path), prepared(tmp_path / "in")
    assert list(inside) == [f"{path}/{number}.png" for number in range(4)]
    for one, other in zip(inside.values(), outside.values(), strict=True):
        assert one.pixels is not None
        assert np.array_equal(one.pixels, other.pixels)


def test_images_that_were_made_may_be_asked_about_though_they_are_no_source(tmp_path: Path) -> None:
    save(tmp_path / "in" / "0.png", picture(0, 0))
    save(tmp_path / "in" / "metadata.csv", b"file_name,label,origin\n0.png,cat,synthetic\n")
    assert len(prepared(zip_of(tmp_path / "in", tmp_path / "in.zip"))) == 1


def test_hostile_files_are_refused_and_the_rest_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    save(tmp_path / "secret.png", solid(9))
    save(folder / "good.png", picture(0, 0))
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    save(
        folder / "bomb.png", b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    )
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere.png")
    os.mkfifo(folder / "pipe.png")
    found = {Path(path).name: got for path, got in prepared(folder).items()}
    assert found.pop("good.png").pixels is not None
    assert {name: got.problem for name, got in found.items()} == {
        "bomb.png": "60000 x 60000 pixels, more than 100000000",
        "link.png": "cannot be read: a link to outside its folder",
        "gone.png": "cannot be read: a link to outside its folder",
        "pipe.png": "cannot be read: pipe.png is no regular file",
    }


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", r"nowhere: does not exist$"),
        ("empty", r"empty: holds no image; expected files that end in \.bmp, \.gif, "),
        ("linked", r"linked/folder: is a link to a folder, which is not followed; put the folder itself there$"),
        ("empty.zip", r"empty\.zip: holds no image; expected "),
        ("out.tar", r"out\.tar: refused, since '\.\./0\.png' points outside the archive$"),
    ],
)
def test_what_cannot_be_opened_is_one_line(tmp_path: Path, name: str, told: str) -> None:
    save(tmp_path / "empty" / "notes.txt", b"no image")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "folder").symlink_to(tmp_path / "empty")
    zip_of(tmp_path / "empty", tmp_path / "empty.zip")
    save(tmp_path / "other" / "0.png", picture(0, 0))
    tar_of(tmp_path / "other", tmp_path / "out.tar", top="../")
    with pytest.raises(UserError, match=told) as caught:
        prepared(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_no_unicode_can_be_written_down(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(save(tmp_path / "0.png", picture(0, 0)), os.fsencode(tmp_path / "in") + b"/\xff\xc3\xa4.png")
    ((path, got),) = prepared(tmp_path / "in").items()
    assert path == f"{tmp_path}/in/\\xffä.png"
    assert got.pixels is not None


@pytest.mark.parametrize("threads", ["1", "3"])
def test_few_images_are_read_before_they_are_asked_for(
    tmp_path: Path, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", threads)
    ahead = AHEAD * int(threads)
    paths = [save(tmp_path / "in" / f"{number:02}.png", picture(0, number)) for number in range(ahead + 4)]
    with ExitStack() as stack:
        coming = Pictures([str(tmp_path / "in")], stack).prepared(SHAPE)
        first = next(coming)
        paths[ahead + 1].unlink()
        rest = list(coming)
    assert [found.path for found in [first, *rest]] == [str(path) for path in paths]
    assert rest[ahead].problem == "cannot be read: No such file or directory"
    assert [found.path for found in rest if found.problem] == [str(paths[ahead + 1])]


def test_any_number_of_threads_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, data in odd_files().items():
        (tmp_path / name).write_bytes(data)
    found = []
    for threads in ("1", "4"):
        monkeypatch.setenv("COUNTERWEIGHT_WORKERS", threads)
        filters = warnings.filters[:]
        found.append(prepared(tmp_path))
        assert warnings.filters == filters
    assert list(found[0]) == list(found[1])
    for one, other in zip(*(each.values() for each in found), strict=True):
        assert one.problem == other.problem
        np.testing.assert_array_equal(one.pixels, other.pixels)
