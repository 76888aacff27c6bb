"""Shards opened by the library `datasets`."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.commands import export
from pipeline.dataset import Dataset
from pipeline.exports import hf_parquet as module
from tests.builders import picture, write_dataset


def test_its_library_opens_it_with_splits_images_and_class_labels(tmp_path: Path) -> None:
    import datasets

    write_dataset(tmp_path / "data" / "train", {"cat": 3, "größe M": 2})
    write_dataset(tmp_path / "data" / "val", {"cat": 1, "größe M": 1}, split="val")
    export.run((str(tmp_path / "data"),), tmp_path / "out", format="hf_parquet")
    opened = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in opened.items()} == {"train": 5, "validation": 2}
    assert isinstance(opened["train"].features["image"], datasets.Image)
    assert opened["train"].features["label"].names == ["cat", "größe M"]
    row = opened["train"][4]
    assert (row["label"], row["origin"], row["split"], row["weight"]) == (1, "real", "train", 1.0)
    assert isinstance(row["image"], Image.Image)
    np.testing.assert_array_equal(np.asarray(row["image"]), picture(1, 1))


def test_shards_say_how_many_they_are(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", {"cat": 1200, "dog": 1})
    dataset = Dataset.open(tmp_path / "data")
    module.write(dataset.rows(), dataset.class_names, tmp_path / "out", shard_bytes=10_000)
    names = sorted(path.name for path in (tmp_path / "out" / "data").iterdir())
    assert names == [f"train-{number:05d}-of-{len(names):05d}.parquet" for number in range(len(names))]
    assert len(names) > 1
    written = Dataset.open(tmp_path / "out" / "data").frame(["id", "label"])
    assert written.to_numpy().tolist() == dataset.frame(["id", "label"]).to_numpy().tolist()
