"""Sources and data sets of deterministic coloured shapes, and the way from the one to the other."""

import csv
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import zstandard

from pipeline.commands import scan as scan_command
from pipeline.dataset import Dataset, Row, ShardWriter, make_row
from pipeline.images import Pixels, encode_png
from pipeline.stages import ingest
from tests.tiny import settings

PALETTE = ((220, 40, 40), (40, 200, 60), (50, 80, 230), (230, 200, 40), (180, 60, 200))


def picture(label: int, number: int, height: int = 12, width: int = 12) -> Pixels:
    """A box in its class's colour somewhere on dark noise, uint8 [height, width, 3]; no two are alike."""
    rng = np.random.default_rng([label, number])
    pixels = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
    top, left = int(rng.integers(height // 2)), int(rng.integers(width // 2))
    pixels[top : top + height // 2, left : left + width // 2] = PALETTE[label % len(PALETTE)]
    return pixels


def solid(colour: tuple[int, ...] | int, height: int = 8, width: int = 8) -> Pixels:
    """An image of one colour."""
    shape = (height, width) if isinstance(colour, int) else (height, width, 3)
    return np.full(shape, colour, dtype=np.uint8)


def save(path: Path, content: Pixels | bytes) -> Path:
    """Writes pixels as PNG, or bytes as they are, making the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else encode_png(content))
    return path


def image_folder(root: Path, counts: Mapping[str, int], start: int = 0) -> Path:
    """Writes `counts[folder]` images into each folder ("cat", "train/cat"), numbered from `start`."""
    for label, (folder, count) in enumerate(counts.items()):
        for number in range(start, start + count):
            save(root / folder / f"{number:03d}.png", picture(label, number))
    return root


def zip_of(folder: Path, path: Path, top: str = "", compression: int = zipfile.ZIP_STORED) -> Path:
    """Packs a folder's files, below the folder `top` of the archive."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in _files(folder):
            archive.write(file, top + file.relative_to(folder).as_posix())
    return path


def tar_of(folder: Path, path: Path, top: str = "", mode: str = "w", names: Iterable[str] | None = None) -> Path:
    """Packs a folder's files, below the folder `top` of the archive, in the order of `names` if given."""
    files = _files(folder) if names is None else (folder / name for name in names)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for file in files:
            member = tarfile.TarInfo(top + file.relative_to(folder).as_posix())
            member.size = file.stat().st_size
            archive.addfile(member, io.BytesIO(file.read_bytes()))
    return path


def zst_of(path: Path) -> Path:
    """Packs a file by zstd, beside it."""
    packed = path.with_name(f"{path.name}.zst")
    packed.write_bytes(zstandard.ZstdCompressor().compress(path.read_bytes()))
    return packed


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def rows(counts: Mapping[str, int], **fields: Any) -> list[Row]:
    """`counts[name]` rows of each class; `fields` go to `make_row`."""
    return [
        make_row(picture(label, number), label, path=f"{name}/{number:03d}.png", **({"origin": "real"} | fields))
        for label, (name, count) in enumerate(counts.items())
        for number in range(count)
    ]


def write_dataset(folder: Path, counts: Mapping[str, int], shard_bytes: int = 2**20, **fields: Any) -> Path:
    """Writes a data set of `counts[name]` images of each class."""
    with ShardWriter(folder, tuple(counts), shard_bytes=shard_bytes) as writer:
        for row in rows(counts, **fields):
            writer.add(row)
    return folder


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file in a folder, by its name there."""
    return {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in _files(folder)
    }


@dataclass(frozen=True)
class Built:
    """What `ingest` made of a source."""

    root: Path
    SPLITS: ClassVar = ("train", "val", "test")

    def split(self, name: str) -> Dataset:
        return Dataset.open(self.root / name)

    def counts(self, name: str) -> list[int]:
        return self.split(name).class_counts().tolist()

    def paths(self, name: str) -> set[str]:
        return {row.path for row in self.split(name).rows()}

    def split_of(self) -> dict[str, str]:
        """pixel_hash -> split, after checking that none is in two."""
        found = [(row.pixel_hash, name) for name in self.SPLITS for row in self.split(name).rows()]
        assert len(dict(found)) == len(found), "a picture is in the data set twice"
        return dict(found)

    @property
    def quarantine(self) -> list[dict[str, str]]:
        with (self.root / "quarantine" / "quarantine.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    @property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.root / "metrics.json").read_text(encoding="utf-8"))


def scan(source: Path | str, root: Path, domain: Path | str = "none", *, renew: bool = False) -> Path:
    """Scans into `root`/source.json."""
    root.mkdir(parents=True, exist_ok=True)
    sections = {"ingest": {"source": str(source)}, "ingest_source": {"source": str(domain)}}
    params_file = root / "params.yaml"
    params_file.write_text(json.dumps(sections), encoding="utf-8")  # JSON is YAML
    scan_command.run(params_file, root / "source.json", renew=renew)
    return root / "source.json"


def build(source: Path | str, root: Path, *, scanned: bool = False, **changes: Any) -> Built:
    """Scans (unless `scanned` already) and ingests with the project's settings and `changes`."""
    if not scanned:
        scan(source, root)
    ingest.run(
        root / "source.json",
        *(root / name for name in ("train", "val", "test", "quarantine")),
        root / "metrics.json",
        settings(ingest.Params, "ingest", source=str(source), **changes),
    )
    return Built(root)
