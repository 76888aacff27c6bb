"""Images in folders, opened by Hugging Face's `imagefolder`."""

import csv
import gc
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.commands import export
from pipeline.dataset import Dataset
from pipeline.exports.imagefolder import MAX_NAME_BYTES, folder_name
from pipeline.images import decode_png
from tests.builders import write_dataset


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("cat", "cat"),
        ("größe M", "größe M"),
        ("a/b", "a%2Fb"),
        ("50 %", "50 %25"),
        ("a:b*?", "a%3Ab%2A%3F"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        (".hidden", "%2Ehidden"),
        ("dot.", "dot%2E"),
        (" both ", "%20both%20"),
        ("line\nbreak", "line%0Abreak"),
        ("con", "%63on"),
        ("", "%"),
        ("猫" * 100, "猫" * 63 + "%31d340fd"),
    ],
)
def test_folders_of_classes(name: str, folder: str) -> None:
    assert folder_name(name) == folder


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=2, max_size=2, unique=True))
def test_folders_are_valid_and_different(names: list[str]) -> None:
    one, other = map(folder_name, names)
    assert one != other
    for folder in (one, other):
        assert len(folder.encode()) <= MAX_NAME_BYTES
        assert folder not in ("", ".", "..")
        assert not set(folder) & set("/\\\0\n")
        assert not folder.startswith(".")


def test_what_is_told_of_each_image(tmp_path: Path) -> None:
    fields = {"origin": "augmented", "parent_id": "ab", "seed": 7, "weight": 0.5, "quality": 0.25}
    write_dataset(tmp_path / "data", {"cat": 1, "a/b": 1}, **fields)
    export.run((str(tmp_path / "data"),), tmp_path / "out")
    ids = [row.id for row in Dataset.open(tmp_path / "data").rows()]
    text = (tmp_path / "out" / "train" / "metadata.csv").read_text(encoding="utf-8")
    assert text.splitlines()[0] == "file_name,label,split,origin,weight,parent_id,seed,quality,group"
    assert [line["file_name"] for line in csv.DictReader(io.StringIO(text))] == [
        f"cat/{ids[0]}.png",
        f"a%2Fb/{ids[1]}.png",
    ]
    assert text.splitlines()[2] == f"a%2Fb/{ids[1]}.png,a/b,train,augmented,0.5,ab,7,0.25,"


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # it leaves the metadata to the garbage collector
def test_hugging_face_opens_it(tmp_path: Path) -> None:
    import datasets

    write_dataset(tmp_path / "data" / "train", {"cat": 3, "a/b": 2})
    write_dataset(tmp_path / "data" / "test", {"cat": 1, "a/b": 1}, split="test")
    export.run((str(tmp_path / "data"),), tmp_path / "out")
    opened = datasets.load_dataset("imagefolder", data_dir=str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in opened.items()} == {"train": 5, "test": 2}
    ours = Dataset.open(tmp_path / "data" / "train")
    expected = sorted((ours.class_names[row.label], decode_png(row.image).tobytes()) for row in ours.rows())
    assert sorted((row["label"], np.asarray(row["image"]).tobytes()) for row in opened["train"]) == expected
    gc.collect()
