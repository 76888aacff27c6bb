"""Planted added images through training to the verdict: what helps ships, what does not or harms a class is held.

Real digits with four training images a class; the added ones stand for what a generator made, and count to the end.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline.dataset import Dataset
from pipeline.errors import UserError
from tests.stages.chain import Chain
from tests.tiny import write

NAMES = tuple("0123456789")
REAL, ADDED = 4, 30  # images a class
COUNTING = {"weight": 1.0, "final_weight": 1.0, "batch_size": 32}
HOW: dict[str, Any] = {
    "seeds": 2,
    "loss": "cross_entropy",  # Balanced Softmax holds the loss of a class that is not among the added ones back
    "recipe": {"schedule": {"steps": 150, "lr": 0.01}},
    "added": COUNTING,
}


class Planted(Chain):
    """All arms but the completed one, trained; `pool` holds images that nothing else does, in the order of labels."""

    def __init__(self, root: Path) -> None:
        self.root = root
        digits = load_digits()
        images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
        rng = np.random.default_rng(0)
        order = [rng.permutation(np.flatnonzero(digits.target == label)) for label in range(10)]
        rows = {
            "train": np.concatenate([of_class[:REAL] for of_class in order]),
            "pool": np.concatenate([of_class[REAL : REAL + ADDED] for of_class in order]),
            "test": np.concatenate([of_class[REAL + ADDED :] for of_class in order]),
            "none": np.empty(0, np.int64),
        }
        self.pool, self.pool_labels = images[rows["pool"]], digits.target[rows["pool"]]
        for name, split in (("train", "train"), ("val", "val"), ("test", "test"), ("augmented", "train")):
            chosen = rows.get(name, rows["none"])
            setattr(self, name, write(root / name, images[chosen], digits.target[chosen], NAMES, split=split))
        self.source_domain = write(root / "source_domain", images[:0], [], ())
        self.train_source()
        self.baseline(**HOW)
        self.train_classifier("arm", self.train, self.augmented, **HOW)
        shutil.copytree(root / "arm", root / "feature_completed")

    def judge(self, name: str, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
        """What `evaluate` says, at a first look, of classifiers that were trained on these images too."""
        made = write(self.root / name, images, labels, NAMES, origin="synthetic")
        shutil.rmtree(self.root / "completed", ignore_errors=True)
        (self.root / "looks.json").unlink(missing_ok=True)
        self.train_classifier("completed", self.train, self.augmented, made, **HOW)
        self.evaluate(f"{name}-verdict", seen=(made,), num_resamples=1000)
        return self.json(f"{name}-verdict")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "CHECKPOINTS"):
            patch.setenv(f"COUNTERWEIGHT_{name}", str(tmp_path_factory.mktemp(name)))
        return Planted(tmp_path_factory.mktemp("planted"))


def test_images_like_unseen_real_ones_ship(planted: Planted) -> None:
    judged = planted.judge("dream", planted.pool, planted.pool_labels)
    assert judged["verdict"] == "ship"
    assert judged["reason"].startswith("Completed beats both baselines: +")
    planted.evaluate("held", seen=(planted.root / "dream",), num_resamples=1000, min_seeds=5)
    held = planted.json("held")
    told = (
        "Only 2 training seeds, and evaluate.min_seeds asks for 5; as far as these tell, completed beats both baselines"
    )
    assert held["verdict"] == "hold"
    assert held["reason"].startswith(told)
    changed = {"verdict", "reason", "min_seeds"}
    assert {key: held[key] for key in held if key not in changed} == {
        key: judged[key] for key in judged if key not in changed
    }
    synthesis = judged["attribution"]["synthesis"]["balanced_accuracy"]
    assert synthesis["ci95"][0] > 0.05


def test_noise_is_held(planted: Planted) -> None:
    noise = np.random.default_rng(0).integers(0, 256, planted.pool.shape, dtype=np.uint8)
    judged = planted.judge("noise", noise, planted.pool_labels)
    assert judged["verdict"] == "hold"
    assert judged["reason"].startswith("Not shown to beat ")


def test_one_class_that_pays_for_all_others_is_held_and_named(planted: Planted) -> None:
    labels = np.where(planted.pool_labels == 6, 5, planted.pool_labels)  # every made 6 is called a 5
    judged = planted.judge("thief", planted.pool, labels)
    assert judged["gain"]["over_balanced_softmax"]["balanced_accuracy"]["mean"] > 0.05
    assert judged["verdict"] == "hold"
    assert judged["harmed"] == ["6"]
    assert "; 1 class is shown to lose more than 5 points: '6' (-" in judged["reason"]


def test_a_made_image_that_is_a_test_image_is_refused(planted: Planted) -> None:
    stolen = next(iter(Dataset.open(planted.test).images()))[None, None]
    leak = write(planted.root / "leak", stolen, [0], NAMES, origin="synthetic")
    with pytest.raises(UserError, match=r"test: 1 images of .*leak are test images or made of them"):
        planted.evaluate("leak-verdict", seen=(leak,))
