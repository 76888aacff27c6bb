"""One tiny trained arm for all tests here, and the test images as files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.dataset import Dataset
from tests.stages.chain import Chain
from tests.tiny import write_bars


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    """`models/completed` (calibrated), and `models/baseline` with both losses and too few validation images."""
    root = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERWEIGHT_WORKERS", "1")
        patch.setenv("COUNTERWEIGHT_CACHE", str(root / "cache"))
        patch.setenv("COUNTERWEIGHT_CHECKPOINTS", str(root / "checkpoints"))
        chain = Chain(root)
        chain.train_source()
        many = write_bars(root / "many" / "val", [10, 10, 10], split="val")
        steps = {"recipe": {"schedule": {"steps": 40}}}
        chain.train_classifier("models/completed", chain.train, chain.augmented, val=many, **steps)
        chain.train_classifier("models/baseline", chain.train, losses=("cross_entropy", "balanced_softmax"))
        chain.train_classifier("models/uncalibrated", chain.train)
        yield chain


@pytest.fixture
def new(chain: Chain, tmp_path: Path) -> Path:
    """The test images as PNG files, named in their order."""
    folder = tmp_path / "new"
    folder.mkdir()
    for number, row in enumerate(Dataset.open(chain.test).rows()):
        (folder / f"{number:03d}.png").write_bytes(row.image)
    return folder


def noise(number: int, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 [N, 1, 8, 8]."""
    return np.random.default_rng(seed).integers(0, 256, (number, 1, 8, 8), dtype=np.uint8)
