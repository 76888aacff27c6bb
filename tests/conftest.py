"""What every test gets: derived files in a folder of its own, and a tiny source and data set to ask for."""

import os
from pathlib import Path

import pytest
import torch

from pipeline.dataset import Dataset
from tests.builders import image_folder, write_dataset

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when `datasets` is first imported
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
torch.set_num_threads(1)  # on tensors this small, threads that wait for each other cost up to fifty times more


@pytest.fixture(autouse=True)
def derived_files_apart(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or fills the user's pixel cache and checkpoints."""
    folder = tmp_path_factory.mktemp("counterweight")
    monkeypatch.setenv("COUNTERWEIGHT_CACHE", str(folder / "cache"))
    monkeypatch.setenv("COUNTERWEIGHT_CHECKPOINTS", str(folder / "checkpoints"))


@pytest.fixture
def tiny_source(tmp_path: Path) -> Path:
    """An ImageFolder: 12 images of "cat", 5 of "dog", coloured, 12 x 12 pixels."""
    return image_folder(tmp_path / "tiny_source", {"cat": 12, "dog": 5})


@pytest.fixture
def tiny_dataset(tmp_path: Path) -> Dataset:
    """A data set: 5 images of "cat", 3 of "größe M", 1 of "owl", coloured, 12 x 12 pixels."""
    return Dataset.open(write_dataset(tmp_path / "tiny", {"cat": 5, "größe M": 3, "owl": 1}))
