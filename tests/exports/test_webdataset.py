"""Shards opened by the library `webdataset`."""

import gc
import json
from pathlib import Path

import numpy as np
import pytest

from pipeline import sources
from pipeline.commands import export
from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.exports import webdataset as module
from tests.builders import write_dataset


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # it leaves the shard to the garbage collector
def test_its_library_opens_it(tmp_path: Path) -> None:
    import webdataset

    write_dataset(tmp_path / "data", {"cat": 3, "größe M": 2}, origin="synthetic", seed=5, quality=0.5)
    export.run((str(tmp_path / "data"),), tmp_path / "out", format="webdataset")
    shard = str(tmp_path / "out" / "train-000000.tar")
    opened = webdataset.WebDataset(shard, shardshuffle=False).decode("rgb8").to_tuple("__key__", "png", "cls", "json")
    ours = Dataset.open(tmp_path / "data")
    for (key, image, cls, about), row, pixels in zip(opened, ours.rows(), ours.images(), strict=True):
        assert (key, cls) == (row.id, row.label)
        np.testing.assert_array_equal(image, pixels)
        assert about == {
            "class_name": ours.class_names[row.label],
            "split": "train",
            "origin": "synthetic",
            "weight": 1.0,
            "parent_id": None,
            "seed": 5,
            "quality": 0.5,
            "group": None,
        }
    assert (tmp_path / "out" / "classes.txt").read_text(encoding="utf-8") == "cat\ngröße M\n"
    del opened
    gc.collect()


def test_shards_are_bounded_and_a_pattern_reads_them(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"cat": 10, "dog": 10})
    dataset = Dataset.open(tmp_path / "data")
    (tmp_path / "out").mkdir()
    module.write(dataset.rows(), dataset.class_names, tmp_path / "out", shard_bytes=20_000)
    shards = sorted((tmp_path / "out").glob("*.tar"))
    assert [path.name for path in shards] == [f"train-{number:06d}.tar" for number in range(len(shards))]
    assert 2 < len(shards) < 6
    pattern = f"{tmp_path}/out/train-{{000000..{len(shards) - 1:06d}}}.tar"
    assert [file.label for file in sources.files(pattern)] == ["cat"] * 10 + ["dog"] * 10


@pytest.mark.parametrize("name", ["a\nb", " a", ""])
def test_a_class_that_is_no_line_is_refused(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path / "data", {"cat": 1, name: 1})
    with pytest.raises(UserError) as caught:
        export.run((str(tmp_path / "data"),), tmp_path / "out", format="webdataset")
    expected = f"class {name!r} cannot be a line of classes.txt; export as hf_parquet or rename the class"
    assert str(caught.value) == expected
    assert not (tmp_path / "out").exists()


def test_names_are_json_in_any_script(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"猫": 1, '"': 1})
    export.run((str(tmp_path / "data"),), tmp_path / "out", format="webdataset")
    assert [file.label for file in sources.files(str(tmp_path / "out"))] == ["猫", json.loads('"\\""')]
