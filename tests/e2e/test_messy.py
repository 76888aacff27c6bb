"""A source as people have it, through `dvc repro`: what is broken is named, what is odd is mended, nothing escapes."""

import csv
import io
import json
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import matplotlib
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pipeline.dataset import Dataset
from pipeline.decoding.orientation import TAG
from pipeline.images import Pixels, decode_png, encode_png
from tests.builders import digests, image_folder, save, zip_of
from tests.e2e.conftest import Project, checkout

pytestmark = pytest.mark.e2e
GOOD = {"train": {"cat": 12, "dog": 8, "owl": 5}, "test": {"cat": 4, "dog": 4, "owl": 4}}
SIDE = 32
REFUSED = {
    "train/cat/flipped.jpg": "damaged: Corrupt JPEG data: ",
    "train/cat/truncated.jpg": "damaged: Premature end of JPEG file",
    "train/dog/alike.jpg": "copy, look-alike or of one group with an image in test",
    "train/dog/bomb.png": "60000 x 60000 pixels, more than 100000000",
    "train/dog/empty.jpg": "empty file",
    "train/dog/page.png": "no image format known here",
    "train/dog/twin.png": "same picture as one of class 'cat'",
    "train/owl/nowhere.jpg": "cannot be read: No such file or directory",
    "train/owl/outside.png": "cannot be read: a link to outside its folder",
    "train/owl/pipe.png": "cannot be read: pipe.png is no regular file",
}


def photo(seed: int, height: int = SIDE, width: int = SIDE) -> Pixels:
    """Soft patches with some noise; no two are alike."""
    rng = np.random.default_rng(seed)
    soft = cv2.resize(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(soft.astype(int) + rng.integers(-6, 7, soft.shape), 0, 255).astype(np.uint8)


def encoded(image: Pixels | Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, kind, **options)
    return out.getvalue()


def jpeg(image: Pixels | Image.Image, quality: int = 95, **options: Any) -> bytes:
    return encoded(image, "JPEG", quality=quality, **options)


def broken(root: Path) -> None:
    """Files that can't be used."""
    whole = jpeg(photo(100, 96, 96))
    save(root / "cat" / "truncated.jpg", whole[: len(whole) // 2])
    flipped = np.frombuffer(whole, np.uint8).copy()
    flipped[len(whole) // 2 :: 100] ^= 0xFF
    save(root / "cat" / "flipped.jpg", flipped.tobytes())
    save(root / "dog" / "empty.jpg", b"")
    save(root / "dog" / "page.png", b"<html>404</html>")
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    save(root / "dog" / "bomb.png", bomb)
    (root / "owl" / "nowhere.jpg").symlink_to("gone.jpg")
    os.mkfifo(root / "owl" / "pipe.png")
    outside = save(root.parents[1] / "outside.png", photo(101))
    (root / "owl" / "outside.png").symlink_to(outside)


def odd(root: Path) -> None:
    """Files that can be used, some only once they are changed; a camera's owner would not like them as they are."""
    exif = Image.Exif()
    exif[TAG] = 6  # a quarter to the right
    exif[0x010F] = "SECRET camera"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 0.0), 3: "E", 4: (11.0, 34.0, 0.0)})
    save(root / "owl" / "gps.jpg", jpeg(photo(110, SIDE, 48), exif=exif, comment=b"SECRET comment"))
    text = PngImagePlugin.PngInfo()
    text.add_text("Location", "SECRET place")
    save(root / "owl" / "text.png", encoded(photo(111), "PNG", pnginfo=text))
    save(root / "owl" / "inks.jpg", jpeg(Image.fromarray(photo(112)).convert("CMYK")))
    deep = photo(113)[..., 0].astype(np.uint16) * 257
    save(root / "owl" / "deep.png", cv2.imencode(".png", deep)[1].tobytes())
    save(root / "owl" / "really a png.jpg", encode_png(photo(114)))
    save(root / "owl" / "REALLY A JPEG.BMP", jpeg(photo(115)))
    for name in ("cat/notes.txt", "cat/Thumbs.db", "owl/.DS_Store"):
        save(root / name, b"no image, and not named like one")


def repeated(root: Path) -> None:
    """Copies and look-alikes, within a split and across splits."""
    test = root.parent / "test"
    save(root / "cat" / "copy.png", (root / "cat" / "001.png").read_bytes())
    save(root / "cat" / "like.jpg", jpeg(photo(2), quality=80))
    save(root / "cat" / "seen.png", (test / "cat" / "000.png").read_bytes())
    save(root / "dog" / "twin.png", (root / "cat" / "000.png").read_bytes())
    with Image.open(test / "dog" / "001.png") as image:
        save(root / "dog" / "alike.jpg", jpeg(image.copy(), quality=80))


def messy(root: Path) -> Path:
    """25 good training images and 12 test images, and 19 files of all sorts."""
    seed = 0
    for split, counts in GOOD.items():
        for name, count in counts.items():
            for number in range(count):
                save(root / split / name / f"{number:03d}.png", photo(seed))
                seed += 1
    for add in (broken, odd, repeated):
        add(root / "train")
    return root


def pinned(project: Project, source: Path, **env: str) -> None:
    """Points a project at a source and pins what is there."""
    for command in (["configure", str(source)], ["scan"]):
        project.run("python", "-m", "pipeline", *command, **env)


def own_places(root: Path) -> dict[str, str]:
    """Environment in which whatever a program writes outside the project lands below `root`."""
    for name in ("home", "tmp"):
        (root / name).mkdir()
    return {"HOME": str(root / "home"), "TMPDIR": str(root / "tmp"), "MPLCONFIGDIR": matplotlib.get_configdir()}


def beside(root: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file, and the folders, below `root` but for the project and DVC's own cache."""
    found = (path for path in root.rglob("*") if path.relative_to(root).parts[0] not in ("project", "dvc-site-cache"))
    status = {str(path): path.lstat() for path in found}
    return {name: (0, 0) if Path(name).is_dir() else (at.st_size, at.st_mtime_ns) for name, at in status.items()}


def stored(root: Path, *folders: str) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each image that was stored."""
    for folder in folders:
        for row in Dataset.open(root / "data" / folder).rows():
            yield row.path, row.image


def chunks(data: bytes) -> set[bytes]:
    """Kinds of the chunks of a PNG."""
    kinds, at = set(), 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kinds.add(data[at + 4 : at + 8])
        at += 12 + length
    return kinds


def test_a_messy_folder(tmp_path: Path) -> None:
    source, env = messy(tmp_path / "Fotos von früher"), own_places(tmp_path)
    project = checkout(tmp_path / "project")
    project.change({"ingest": {"max_bad_fraction": 0.2}})
    before = beside(tmp_path)
    pinned(project, source, **env)
    project.run("dvc", "repro", "augment", **env)
    assert beside(tmp_path) == before

    with (project.root / "data/quarantine/quarantine.csv").open(encoding="utf-8", newline="") as file:
        reasons = {line["name"]: line["reason"] for line in csv.DictReader(file)}
    assert set(reasons) == set(REFUSED)
    for name, reason in REFUSED.items():
        assert reasons[name].startswith(reason), (name, reasons[name])

    metrics = json.loads((project.root / "results/ingest/metrics.json").read_text(encoding="utf-8"))
    # cat 12 + like; dog 8; owl 5 + 6 odd ones: a tenth of each is held out for validation
    assert metrics == {
        "files": 25 + 12 + 8 + 6 + 5,
        "refused": 10,
        "duplicates": 2,  # copy, seen
        "near_duplicates": 2,  # like, alike
        "leaks": 2,  # seen, alike
        "image_size": SIDE,
        "channels": 3,
        "images": {
            "train": {"cat": 12, "dog": 7, "owl": 10},
            "val": {"cat": 1, "dog": 1, "owl": 1},
            "test": {"cat": 4, "dog": 4, "owl": 4},
        },
    }
    real = dict(stored(project.root, "real/train", "real/val", "real/test"))
    assert len(real) == 29 + 3 + 12
    pixels_are_right({Path(name).name: decode_png(data) for name, data in real.items()})
    # to be as many as the cats, dogs lack 5 and owls 2: half of each is augmented
    augmented = list(stored(project.root, "augmented"))
    assert len(augmented) == 2 + 1
    nothing_is_told(project.root, [*real.values(), *(data for _, data in augmented)])


def pixels_are_right(found: dict[str, Pixels]) -> None:
    turned = np.rot90(photo(110, SIDE, 48), -1)[8:-8]  # upright it is 48 high, and the centre is kept
    grey = np.repeat(photo(113)[..., :1], 3, axis=2)
    for name, expected, most in (
        ("gps.jpg", turned, 6.0),
        ("inks.jpg", photo(112), 12.0),
        ("REALLY A JPEG.BMP", photo(115), 6.0),
        ("text.png", photo(111), 0.0),
        ("deep.png", grey, 0.0),
        ("really a png.jpg", photo(114), 0.0),
    ):
        assert np.abs(found[name].astype(int) - expected).mean() <= most, name


def nothing_is_told(root: Path, images: list[bytes]) -> None:
    """No metadata is left in any image, and none beside them."""
    assert {frozenset(chunks(data)) for data in images} == {frozenset({b"IHDR", b"IDAT", b"IEND"})}
    for path in (path for top in ("data", "results") for path in (root / top).rglob("*") if path.is_file()):
        assert not any(word in path.read_bytes() for word in (b"SECRET", b"Exif\0\0")), path


def test_an_archive_that_turned_hostile(tmp_path: Path) -> None:
    honest = zip_of(image_folder(tmp_path / "in", {"cat": 4, "dog": 4}), tmp_path / "images.zip")
    env, project = own_places(tmp_path), checkout(tmp_path / "project")
    pinned(project, honest, **env)
    with zipfile.ZipFile(honest, "a") as archive:
        archive.writestr("../../../escaped.png", encode_png(photo(0)))
    linked = tmp_path / "images.tar"
    with tarfile.open(linked, "w") as tar:
        tar.add(tmp_path / "in", "in")
        link = tarfile.TarInfo("in/cat/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    before, ours = beside(tmp_path), digests(project.root / "pipeline")

    done = project.run("dvc", "repro", "ingest", check=False, **env)
    assert done.returncode != 0
    assert lines(done.stdout) == [f"error: {honest}: refused, since '../../../escaped.png' points outside the archive"]
    project.run("python", "-m", "pipeline", "configure", str(linked), **env)
    done = project.run("python", "-m", "pipeline", "scan", check=False, **env)
    assert done.returncode == 2
    told = f"error: {linked}: refused, since 'in/cat/link.png' is a link or a device, not a file"
    assert lines(done.stdout) == [told]
    assert beside(tmp_path) == before
    assert digests(project.root / "pipeline") == ours
    assert not list(project.root.glob("data/real/*/*.parquet"))


def lines(output: str) -> list[str]:
    assert "Traceback" not in output
    return [line for line in output.splitlines() if line.startswith("error: ")]
