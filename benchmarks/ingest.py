"""Bringing images in: decoding against Pillow, perceptual hashes against imagehash, the whole of it against `datasets`.

Reading back: shards against webdataset's tar and a folder of files; DVC's time for shards against a folder.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import cv2
import imagehash
import numpy as np
import simplejpeg
from PIL import Image

from benchmarks.timing import Result, compare
from pipeline import spool
from pipeline.dataset import Dataset, ShardWriter, make_row
from pipeline.decoding import decode
from pipeline.images import Pixels, decode_png, encode_png
from pipeline.near_duplicates import perceptual_hash, thumbnail
from pipeline.source_lock import Pin, digest_of, make_batch, make_members
from pipeline.sources import files as source_files

NUM_IMAGES = 20_000
NUM_FILES = 10_000


def run(folder: Path) -> list[Result]:
    """All of it, on one thread where it is ours to say."""
    cv2.setNumThreads(0)
    return [*_decoding(), *_hashing(), _ingest(folder), *_reading(folder), *_dvc(folder)]


def _photo(number: int, side: int) -> Pixels:
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (max(2, side // 8), max(2, side // 8), 3), dtype=np.uint8)
    large = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(large + rng.integers(-12, 12, large.shape), 0, 255).astype(np.uint8)


def _jpeg(pixels: Pixels) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90))


def _decoding() -> list[Result]:
    encoded = [_jpeg(_photo(number, 224)) for number in range(200)]

    def ours() -> int:
        return sum(decode(data) is not None for data in encoded)

    def pillow() -> int:
        return sum(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) is not None for data in encoded)

    def unchecked() -> int:
        return sum(simplejpeg.decode_jpeg(data) is not None for data in encoded)

    return [
        compare("decode JPEG of 224 px and validate it, vs Pillow without", ours, pillow, "images/s", 1.8),
        compare("the same, vs the fastest decoder without validation", ours, unchecked, "images/s", 1 / 1.2),
    ]


def _hashing() -> list[Result]:
    images = [_photo(number, 64) for number in range(500)]

    def ours() -> int:
        return sum(perceptual_hash(thumbnail(image)) is not None for image in images)

    def peer() -> int:
        return sum(imagehash.phash(Image.fromarray(image)) is not None for image in images)

    return [compare("perceptual hash of 64 px, vs imagehash", ours, peer, "images/s", 3.0)]


def _folder(root: Path, number: int, side: int = 32) -> Path:
    for index in range(number):
        path = root / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(_photo(index, side)))
    return root


def _ingest(folder: Path) -> Result:
    """Files to validated, hashed and compared shards, against files to Parquet."""
    import datasets

    root = _folder(folder / "images", NUM_IMAGES)

    class Silent:
        def update(self, number: int = 1) -> None:
            """Shows nothing."""

    def ours() -> int:
        shutil.rmtree(folder / "cache" / "batches", ignore_errors=True)
        found = [digest_of(file) for file in source_files(str(root))]
        pin = Pin(str(root), (make_batch(found),), (make_members(found),))
        shape = spool.settle_shape(pin, 32, 3, "crop")
        return len(spool.obtain(pin, 0, shape, Silent()).files)

    def peer() -> int:
        shutil.rmtree(folder / "hf2", ignore_errors=True)
        data = datasets.load_dataset("imagefolder", data_dir=str(root), split="train", cache_dir=str(folder / "hf2"))
        data.to_parquet(str(folder / "peer.parquet"))
        return int(data.num_rows)

    return compare(
        "20,000 files to shards, vs datasets (imagefolder to Parquet)", ours, peer, "images/s", 2.0, rounds=2
    )


def _reading(folder: Path) -> list[Result]:
    """Shards read back, bytes of every image in hand, against a tar through webdataset and the folder of files."""
    import webdataset

    root, shards, tar = folder / "images", folder / "read", folder / "read.tar"
    names = sorted(path for path in root.rglob("*.png"))[:NUM_FILES]
    with ShardWriter(shards, ("a", "b")) as writer, tarfile.open(tar, "w") as archive:
        for number, path in enumerate(names):
            writer.add(make_row(decode_png(path.read_bytes()), number % 2, path=path.name, origin="real"))
            archive.add(path, f"{number:06d}.png")
    data = Dataset.open(shards)

    def ours() -> int:
        return sum(len(batch.column("image")) for batch in data.batches(["image", "label"]))

    def by_webdataset() -> int:
        return sum(1 for _ in webdataset.WebDataset(str(tar), shardshuffle=False))

    def by_file() -> int:
        return sum(len(path.read_bytes()) > 0 for path in names)

    return [
        compare("read shards, vs webdataset", ours, by_webdataset, "images/s", 20.0, rounds=3),
        compare("read shards, vs a folder of files", ours, by_file, "images/s", 5.0, rounds=3),
    ]


def _dvc(folder: Path) -> list[Result]:
    """`dvc add` and `dvc checkout` of the same images as shards and as files."""
    project = folder / "dvc"
    shutil.copytree(folder / "read", project / "shards")
    (project / "files").mkdir()
    for path in sorted((folder / "images").rglob("*.png"))[:NUM_FILES]:
        os.link(path, project / "files" / path.name)
    env = {**os.environ, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(folder / "site")}

    def dvc(*arguments: str) -> None:
        command = [sys.executable, "-m", "dvc", *arguments, "--quiet"]
        subprocess.run(command, cwd=project, env=env, check=True)

    dvc("init", "--no-scm")

    def add(name: str) -> int:
        shutil.rmtree(project / ".dvc" / "cache", ignore_errors=True)
        shutil.rmtree(folder / "site", ignore_errors=True)
        dvc("add", name)
        return NUM_FILES

    def check_out(name: str) -> int:
        shutil.rmtree(project / name)
        dvc("checkout", f"{name}.dvc")
        return NUM_FILES

    added = compare("dvc add, shards vs files", lambda: add("shards"), lambda: add("files"), "images/s", 5.0, rounds=2)
    dvc("add", "shards")
    taken = compare(
        "dvc checkout, shards vs files",
        lambda: check_out("shards"),
        lambda: check_out("files"),
        "images/s",
        8.0,
        rounds=2,
    )
    return [added, taken]
