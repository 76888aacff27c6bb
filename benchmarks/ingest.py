"""Bringing images in: decoding against Pillow, perceptual hashes against imagehash, the whole of it against `datasets`.

Reading back: shards against webdataset's tar and a folder of files; DVC's time for shards against a folder.
"""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from time import process_time

import cv2
import imagehash
import numpy as np
import simplejpeg
from PIL import Image
from sklearn.datasets import load_sample_images

from benchmarks.timing import Result, compare
from pipeline import params
from pipeline.commands import scan
from pipeline.dataset import Dataset, ShardWriter, make_row
from pipeline.dataset.cache import cache_folder
from pipeline.decoding import decode
from pipeline.images import Pixels, decode_png, encode_png
from pipeline.ledger import SPLITS
from pipeline.near_duplicates import perceptual_hash, thumbnail
from pipeline.stages import ingest

NUM_IMAGES = 20_000


def run(folder: Path) -> list[Result]:
    """All of it, on one thread where it is ours to say."""
    cv2.setNumThreads(0)
    return [*_decoding(), *_detection(), *_hashing(), _ingest(folder), *_reading(folder), *_dvc(folder)]


def _photo(number: int, side: int) -> Pixels:
    rng = np.random.default_rng(number)
    small = rng.integers(0, 256, (max(2, side // 8), max(2, side // 8), 3), dtype=np.uint8)
    large = cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(large + rng.integers(-12, 12, large.shape), 0, 255).astype(np.uint8)


def _jpeg(pixels: Pixels) -> bytes:
    """As cameras write it, with colours at half the resolution."""
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality=90, colorsubsampling="420"))


def _photographs(number: int, side: int) -> list[Pixels]:
    """Cut-outs of the two photographs that scikit-learn ships."""
    rng, photographs = np.random.default_rng(0), load_sample_images().images
    corners = [[int(rng.integers(length - side)) for length in photographs[0].shape[:2]] for _ in range(number)]
    return [photographs[i % 2][y : y + side, x : x + side] for i, (y, x) in enumerate(corners)]


def _decoding() -> list[Result]:
    encoded = [_jpeg(photograph) for photograph in _photographs(500, 224)]

    def ours() -> int:
        return sum(decode(data) is not None for data in encoded)

    def pillow() -> int:
        return sum(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) is not None for data in encoded)

    def unchecked() -> int:
        return sum(simplejpeg.decode_jpeg(data) is not None for data in encoded)

    return [
        compare(
            "decode JPEG of 224 px and validate it, vs Pillow without",
            ours,
            pillow,
            "images/s",
            1.8,
            clock=process_time,
        ),
        compare("the same, vs its decoder without", ours, unchecked, "images/s", round(1 / 1.2, 2), clock=process_time),
    ]


def _detection() -> list[Result]:
    """Share of damaged files that decoding refuses, beside what is asked for: cut off, and with five bytes changed."""
    rng = np.random.default_rng(0)
    cut, changed = [], []
    for data in map(_jpeg, _photographs(500, 224)):
        cut.append(data[: rng.integers(len(data) // 2, len(data) - 2)])
        bytes_ = np.frombuffer(data, np.uint8).copy()
        bytes_[rng.integers(len(data) // 20, len(data), 5)] ^= rng.integers(1, 256, 5, dtype=np.uint8)
        changed.append(bytes_.tobytes())
    return [
        _found("JPEG cut off, refused, vs the goal", cut, 100.0),
        _found("JPEG with five bytes changed, refused, vs the goal", changed, 70.0),
    ]


def _found(name: str, files: list[bytes], goal: float) -> Result:
    share = 100 * sum(_refused(data) for data in files) / len(files)
    return Result(name, share, goal, "% of files", round(share / goal, 2), 1.0)


def _refused(data: bytes) -> bool:
    try:
        decode(data)
    except ValueError:
        return True
    return False


def _hashing() -> list[Result]:
    images = [_photo(number, 64) for number in range(500)]

    def ours() -> int:
        return sum(perceptual_hash(thumbnail(image)) is not None for image in images)

    def peer() -> int:
        return sum(imagehash.phash(Image.fromarray(image)) is not None for image in images)

    return [compare("perceptual hash of 64 px, vs imagehash", ours, peer, "images/s", 3.0, clock=process_time)]


def _folder(root: Path, number: int, side: int = 32) -> Path:
    for index in range(number):
        path = root / "ab"[index % 2] / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(_photo(index, side)))
    return root


def _ingest(folder: Path) -> Result:
    """Files to validated, de-duplicated and split shards, by scan and ingest, against files to Parquet; on one core."""
    import datasets

    datasets.disable_progress_bars()
    root = _folder(folder / "images", NUM_IMAGES)
    section = params.read(Path("params.yaml"))["ingest"]
    chosen = replace(
        params.build(ingest.Params, section, "params.yaml: ingest"), source=str(root), image_size=32, channels=3
    )
    text = f"ingest: {{source: {root}}}\ningest_source: {{source: none}}\n"
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    lock, outs = folder / "source.json", [folder / "real" / name for name in (*SPLITS, "quarantine", "metrics.json")]

    def ours() -> int:
        shutil.rmtree(cache_folder() / "batches", ignore_errors=True)
        lock.unlink(missing_ok=True)
        scan.run(folder / "params.yaml", lock)
        ingest.run(lock, *outs, chosen)
        return sum(Dataset.open(path).num_rows for path in outs[:3])

    def peer() -> int:
        shutil.rmtree(folder / "hf2", ignore_errors=True)
        data = datasets.load_dataset("imagefolder", data_dir=str(root), split="train", cache_dir=str(folder / "hf2"))
        data.to_parquet(str(folder / "peer.parquet"))
        return int(data.num_rows)

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    name = "20,000 files to shards on one core, vs datasets (imagefolder to Parquet)"
    try:
        return compare(name, ours, peer, "images/s", 2.0, rounds=2)
    finally:
        os.sched_setaffinity(0, cores)


def _reading(folder: Path) -> list[Result]:
    """Shards read back, bytes of every image in hand, against a tar through webdataset and the folder of files."""
    import webdataset

    root, shards, tar = folder / "images", folder / "read", folder / "read.tar"
    names = sorted(root.rglob("*.png"))
    with ShardWriter(shards, ("a", "b")) as writer, tarfile.open(tar, "w") as archive:
        for number, path in enumerate(names):
            writer.add(make_row(decode_png(path.read_bytes()), number % 2, path=path.name, origin="real"))
            archive.add(path, f"{number:06d}.png")
    data = Dataset.open(shards)

    def ours() -> int:
        passes = (data.batches(["image", "label"]) for _ in range(5))  # or it is over before it can be timed
        return sum(len(batch.column("image")) for batches in passes for batch in batches)

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
    for path in sorted((folder / "images").rglob("*.png")):
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
        return NUM_IMAGES

    def check_out(name: str) -> int:
        shutil.rmtree(project / name)
        dvc("checkout", f"{name}.dvc")
        return NUM_IMAGES

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
