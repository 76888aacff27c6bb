"""Ingest at scale: CIFAR-10-LT (imbalance 100, 22,406 images in a zip), where it is at hand."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import params
from pipeline.commands import scan
from pipeline.dataset import Dataset
from pipeline.stages import ingest
from tests.tiny import DATA, settings

pytestmark = pytest.mark.e2e
ARCHIVE = DATA / "cifar10-lt100.zip"


@pytest.mark.skipif(not ARCHIVE.is_file(), reason=f"{ARCHIVE.name} is not in COUNTERWEIGHT_DATA")
def test_the_archive_s_own_test_images_stay_the_test_images(tmp_path: Path) -> None:
    params_file, lock = tmp_path / "params.yaml", tmp_path / "source.json"
    params_file.write_text(f"ingest: {{source: {ARCHIVE}}}\ningest_source: {{source: none}}\n", encoding="utf-8")
    assert params.read(params_file)["ingest"]["source"] == str(ARCHIVE)
    scan.run(params_file, lock)
    folders = {split: tmp_path / split for split in ("train", "val", "test")}
    chosen = settings(ingest.Params, "ingest", source=str(ARCHIVE))
    ingest.run(lock, **folders, quarantine=tmp_path / "quarantine", metrics=tmp_path / "metrics.json", params=chosen)

    data = {split: Dataset.open(folder) for split, folder in folders.items()}
    assert data["train"].image_shape == (3, 32, 32)
    np.testing.assert_array_equal(data["test"].class_counts(), np.full(10, 1000))
    # n_i = 5000 * 100^(-i / 9), a tenth of which is held out for validation; look-alikes of test images are refused.
    missing = np.array([5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50])
    missing -= data["train"].class_counts() + data["val"].class_counts()
    assert missing.min() >= 0
    assert 0 < missing.sum() <= 60
    names = {split: {path.split("/")[0] for path in _paths(dataset)} for split, dataset in data.items()}
    assert names == {"train": {"train"}, "val": {"train"}, "test": {"test"}}


def _paths(dataset: Dataset) -> list[str]:
    return [batch.column("image").field("path")[0].as_py() for batch in dataset.batches(["image"])]
