"""From an archive of tens of thousands of images to a plan and its augmented images, through `dvc repro`.

The long-tailed CIFAR-10 and CIFAR-100 (imbalance 100; Cui et al. 2019, section 5.1), where they are at hand.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.dataset import Dataset
from tests.e2e.conftest import Project, checkout
from tests.tiny import DATA

pytestmark = pytest.mark.e2e
LARGEST = {"cifar10-lt100": (5000, 10), "cifar100-lt100": (500, 100)}  # images of the largest class, classes


@pytest.mark.parametrize("name", LARGEST)
def test_an_archive_to_its_plan_and_augmented_images(name: str, tmp_path: Path) -> None:
    archive = DATA / f"{name}.zip"
    if not archive.is_file():
        pytest.skip(f"{archive.name} is not in COUNTERWEIGHT_DATA")
    project = checkout(tmp_path / "project")
    for command in (["configure", str(archive), "--source-domain", "none"], ["scan"]):
        project.run("python", "-m", "pipeline", *command)
    project.run("dvc", "repro", "augment")

    data = {split: Dataset.open(project.root / "data" / "real" / split) for split in ("train", "val", "test")}
    assert data["train"].image_shape == (3, 32, 32)
    own_splits_are_kept(data)
    counts_are_those_of_a_long_tail(data, *LARGEST[name])
    told = written(project, "ingest")
    assert sum(dataset.num_rows for dataset in data.values()) == told["files"] - told["refused"] - told["duplicates"]
    assert told["refused"] == told["leaks"]  # every file can be read, and no picture is of two classes

    plan = json.loads((project.root / "results/analyze_bias/plan.json").read_text(encoding="utf-8"))
    assert [entry["real"] for entry in plan.values()] == data["train"].class_counts().tolist()
    augmented = Dataset.open(project.root / "data" / "augmented")
    assert augmented.class_counts().tolist() == [entry["augment"] for entry in plan.values()]
    assert augmented.num_rows > 5000


def own_splits_are_kept(data: dict[str, Dataset]) -> None:
    """Training and validation images are the archive's training images, test images its test images."""
    tops = {split: {path.split("/")[0] for path in paths(dataset)} for split, dataset in data.items()}
    assert tops == {"train": {"train"}, "val": {"train"}, "test": {"test"}}


def counts_are_those_of_a_long_tail(data: dict[str, Dataset], largest: int, classes: int) -> None:
    """n_i = largest * 100^(-i / (C - 1)) less the look-alikes of test images, a tenth of it held out."""
    sizes = np.floor(largest * 100.0 ** (-np.arange(classes) / (classes - 1)) + 1e-9)
    missing = sizes - data["train"].class_counts() - data["val"].class_counts()
    assert missing.min() >= 0
    assert 0 < missing.sum() <= 60
    assert data["val"].num_rows == pytest.approx(0.1 * (sizes.sum() - missing.sum()), rel=0.02)
    each = 10_000 // classes
    assert 0 <= each * classes - data["test"].num_rows <= 5  # CIFAR-100's test images hold two copies
    assert data["test"].class_counts().min() >= each - 1


def written(project: Project, stage: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((project.root / f"results/{stage}/metrics.json").read_text(encoding="utf-8"))
    return content


def paths(dataset: Dataset) -> list[str]:
    return [batch.column("image").field("path")[0].as_py() for batch in dataset.batches(["image"])]
