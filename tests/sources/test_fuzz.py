"""Archives and lists damaged at random: each is read, or refused in one line; nothing else ever happens."""

from pathlib import Path

import pytest

from pipeline import sources
from pipeline.errors import UserError
from pipeline.source_lock import digest_of
from tests import formats
from tests.builders import image_folder, tar_of, zip_of, zst_of
from tests.fuzz import fuzzed

COUNTS = {"cat": 3, "größe M": 2}
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
    path = tmp_path / f"fuzzed-{kind}"
    refused = 0
    for seed, content in fuzzed(kind, honest.read_bytes()):
        path.write_bytes(content)
        told = outcome(path)
        if isinstance(told, str):
            assert told.isprintable(), seed
            assert len(told) < 2000, seed
            refused += 1
    assert refused > 0, "damage that is never noticed is no damage"
