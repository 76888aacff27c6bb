"""Other programs open the shards unasked: images decoded, class names known."""

import hashlib
import io
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.dataset import Dataset, make_row
from tests.builders import picture, solid

COLUMNS = ["image", "label", "id", "pixel_hash", "split", "origin", "parent_id", "seed", "weight", "quality"]
COLUMNS += ["width", "height", "source_width", "source_height", "group"]


def test_a_row_says_what_follows_from_its_pixels() -> None:
    row = make_row(solid((1, 2, 3), 4, 6), 2, path="a.png", origin="real")
    assert (row.width, row.height) == (6, 4)
    assert row.id == hashlib.sha256(row.image).hexdigest()
    assert row.pixel_hash == hashlib.sha256(b"(4, 6, 3)" + bytes([1, 2, 3]) * 24).hexdigest()
    assert (row.split, row.weight, row.parent_id, row.seed, row.quality) == ("train", 1.0, None, None, None)


def test_hugging_face_opens_it(tiny_dataset: Dataset, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    files = [str(shard) for shard in tiny_dataset.shards]
    opened = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert opened.num_rows == 9
    assert opened.column_names == COLUMNS
    assert opened.features["label"].names == ["cat", "größe M", "owl"]
    assert opened.features["label"].int2str(opened[5]["label"]) == "größe M"
    assert isinstance(opened[5]["image"], Image.Image)
    np.testing.assert_array_equal(np.asarray(opened[5]["image"]), picture(1, 0))


def test_pandas_opens_it(tiny_dataset: Dataset) -> None:
    frame = pd.read_parquet(tiny_dataset.folders[0])
    assert frame.columns.tolist() == COLUMNS
    assert frame["label"].tolist() == [0] * 5 + [1] * 3 + [2]
    with Image.open(io.BytesIO(frame["image"][8]["bytes"])) as image:
        np.testing.assert_array_equal(np.asarray(image), picture(2, 0))


def test_duckdb_opens_it(tiny_dataset: Dataset) -> None:
    with duckdb.connect() as database:
        shards = str(tiny_dataset.folders[0] / "*.parquet")
        counts = database.execute("SELECT label, count(*) FROM read_parquet(?) GROUP BY 1 ORDER BY 1", [shards])
        assert counts.fetchall() == [(0, 5), (1, 3), (2, 1)]
        found = database.execute("SELECT image.bytes FROM read_parquet(?) WHERE label = 2", [shards]).fetchone()
        assert found is not None
        with Image.open(io.BytesIO(found[0])) as image:
            np.testing.assert_array_equal(np.asarray(image), picture(2, 0))
        metadata = "SELECT decode(value) FROM parquet_kv_metadata(?) WHERE decode(key) = 'huggingface'"
        assert '"names": ["cat", "größe M", "owl"]' in database.execute(metadata, [shards]).fetchall()[0][0]
