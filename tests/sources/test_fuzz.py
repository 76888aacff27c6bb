"""Archives and lists damaged at random: each is read, or refused in one line; nothing else ever happens.

`COUNTERWEIGHT_FUZZ` is the number of damaged files of each kind (default 40; 1,000 take some ten minutes).
"""

import os
import random
from pathlib import Path

import pytest

from pipeline import sources
from pipeline.errors import UserError
from pipeline.source_lock import digest_of
from tests import formats
from tests.builders import image_folder, tar_of, zip_of, zst_of

ROUNDS = int(os.environ.get("COUNTERWEIGHT_FUZZ", "40"))
COUNTS = {"cat": 3, "größe M": 2}
TOKENS = [
    b"\0",
    b"\n",
    b'"',
    b"../",
    b"/",
    b"[[[[",
    b"}",
    b"-1",
    b"1e999",
    b"\xff",
    b"NaN",
    b"\\ud800",
    b"99999999999",
    b",",
]
KINDS = [
    "a.zip",
    "a.tar",
    "a.tar.gz",
    "a.tar.zst",
    "list.csv",
    "list.jsonl",
    "list.parquet",
    "coco.json",
    "wds.tar",
    "hf.parquet",
]


def example(folder: Path, kind: str) -> Path:
    """An honest file of a kind, with the images that it names."""
    path = folder / kind
    if kind.startswith("a."):
        images = image_folder(folder / "in", COUNTS)
        if kind == "a.zip":
            return zip_of(images, path)
        tar = tar_of(images, folder / "a.tar")
        return zst_of(tar) if kind == "a.tar.zst" else tar_of(images, path, mode="w:gz") if kind == "a.tar.gz" else tar
    if kind.startswith("list"):
        extra = {"split": "train", "group": "g", "x": 0, "y": 0, "w": 9, "h": 9}
        return formats.write_table(path, [record | extra for record in formats.listed(folder, COUNTS)])
    if kind == "coco.json":
        names = {record["path"]: (12, 12) for record in formats.listed(folder, COUNTS)}
        return formats.coco(
            path, names, [(name, "cat" if n % 2 else "dog", [n, 1, 8, 9]) for n, name in enumerate(names)]
        )
    if kind == "wds.tar":
        return formats.web_dataset(path, formats.samples(COUNTS), COUNTS)
    return formats.hugging_face(folder, COUNTS, kind)


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes flipped, cut out, doubled or replaced."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at, size = rng.randrange(len(data)), rng.choice([1, 1, 4, 64, 512])
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + size] = rng.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size] * rng.choice([1, 2, 50])
            case 4:
                token = rng.choice(TOKENS)
                data[at : at + len(token)] = token
            case 5 if rng.random() < 0.3:
                del data[at:]
        if not data:
            break
    return bytes(data)


def outcome(path: Path) -> str | int:
    """The number of files in a source, or the line that it is refused with."""
    try:
        found = [digest_of(file) for file in sources.files(str(path))]
    except UserError as error:
        return str(error)
    assert len({file.name for file in found}) == len(found)
    return len(found)


@pytest.mark.parametrize("kind", KINDS)
def test_damage_is_survived(kind: str, tmp_path: Path) -> None:
    honest = example(tmp_path, kind)
    content = honest.read_bytes()
    path = tmp_path / f"fuzzed-{kind}"
    refused = 0
    for seed in range(ROUNDS):
        path.write_bytes(damaged(content, random.Random(f"{kind} {seed}")))  # noqa: S311 - a seed for each round
        told = outcome(path)
        if isinstance(told, str):
            assert told.isprintable(), seed
            assert len(told) < 2000, seed
            refused += 1
    assert refused > 0, "damage that is never noticed is no damage"
