"""From a planted generator to the verdict: noise, copies and a collapse are refused for what they are.

Real digits, the stages as they are, with the gate of params.yaml; only the schedules are short.
"""

import copy
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from pipeline import gate, generators, params, registry
from pipeline.atomic import write_json
from pipeline.dataset import Dataset
from pipeline.gate import Reference
from pipeline.images import SHAPE_FILE
from pipeline.stages import synthesize
from tests.stages.chain import Chain
from tests.tiny import ROOT, Ints, write

NAMES = ("zero", "one", "two", "three")
COUNTS = (40, 16, 8, 4)  # training images of each class
WANTED = [0, 12, 20, 24]
HELD = 60  # unseen images of each class that `planted_given` may be given; as many are for the test
GATE: dict[str, Any] = params.read(ROOT / "params.yaml")["synthesize"]["gate"]
NO_CHANGE = dict.fromkeys(("rotation_degrees", "shift", "scale", "shear"), 0)
RECIPE = {"schedule": {"steps": 150, "lr": 0.01}}  # the baseline has converged: else whatever is added may help it
FOLDER = ROOT / "tests" / "planted_generators"
PLANTED = ("planted_noise", "planted_copies", "planted_given")
Images = np.ndarray


class Digits(Chain):
    """Four digits with a long tail, and the arms that need no generator."""

    def __init__(self, root: Path) -> None:
        self.root = root
        images, labels, order = shuffled()
        self.train = self.part("train", images, labels, order, [(0, count) for count in COUNTS])
        write_json(self.train / SHAPE_FILE, {"size": 8, "channels": 1, "how": "pad"})
        self.test = self.part("test", images, labels, order, [(max(COUNTS) + HELD, None)] * 4)
        self.val, self.augmented = (self.part(name, images, labels, order, [(0, 0)] * 4) for name in ("val", "augm"))
        self.source_domain = write(root / "source_domain", images[:0], [], ())
        self.train_source()
        self.baseline(recipe=RECIPE)
        self.train_classifier("arm", self.train, recipe=RECIPE)
        shutil.copytree(root / "arm", root / "feature_completed")

    def part(self, name: str, images: Images, labels: Ints, order: list[Ints], cuts: list[Any]) -> Path:
        rows = np.concatenate([rows[slice(*cut)] for rows, cut in zip(order, cuts, strict=True)])
        split = name if name in ("val", "test") else "train"
        return write(self.root / name, images[rows], labels[rows], NAMES, split=split)

    def complete(
        self, name: str, gate: dict[str, Any] = GATE, added: dict[str, float] | None = None, **options: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What `synthesize` and `evaluate` say with a planted generator.

        Args:
            added: what added images weigh in the classifiers' loss, instead of as in params.yaml.
        """
        self.train_generator(
            name=name,
            generators={name: options},
            schedule={"steps": 12, "batch_size": 32, "ema_decay": 0.0},
            augmentation=NO_CHANGE,
            class_balance=1.0,
        )
        data = self.synthesize(wanted=WANTED, gate=gate, sampling={name: {}}, max_draws=4)
        self.train_classifier("completed", self.train, self.augmented, data, recipe=RECIPE, added=added or {})
        self.evaluate()
        return self.json("synthetic"), self.json("evaluate")

    def reference(self) -> Reference:
        return synthesize._reference(Dataset.open(self.train), self.root / "baseline-folds")


def shuffled() -> tuple[Images, Ints, list[Ints]]:
    """Images, labels, and the rows of each class in an order of their own; the digits lie in that of their writers."""
    digits = load_digits(n_class=len(NAMES))
    rng = np.random.default_rng(0)
    order = [rng.permutation(np.flatnonzero(digits.target == label)) for label in range(len(NAMES))]
    return np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None], digits.target.astype(np.int64), order


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERWEIGHT_WORKERS", "1")
        for name in ("CACHE", "CHECKPOINTS"):
            patch.setenv(f"COUNTERWEIGHT_{name}", str(tmp_path_factory.mktemp(name)))
        return Digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture
def digits(trained: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Digits]:
    """A copy of its own for each test, and a registry that holds the planted generators, too."""
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    monkeypatch.setattr(generators, "__path__", [*generators.__path__, str(FOLDER)])
    own = copy.copy(trained)
    own.root = shutil.copytree(trained.root, tmp_path / "digits")
    yield own
    for name in PLANTED:
        sys.modules.pop(f"pipeline.generators.{name}", None)
        vars(generators).pop(name, None)


def refused(told: dict[str, Any], label: int) -> dict[str, float]:
    """Share of a class's draws refused for each reason."""
    entry = told["classes"][NAMES[label]]
    return {reason: count / entry["drawn"] for reason, count in entry["refused"].items()}


def unseen(digits: Digits) -> tuple[Images, Ints]:
    """Real images that neither training nor test holds and that pass the gate."""
    images, labels, order = shuffled()
    rows = np.concatenate([rows[max(COUNTS) : max(COUNTS) + HELD] for rows in order])
    reference = digits.reference()
    passed = gate.judge(reference.measure(images[rows], labels[rows]), reference, GATE)[0]
    return images[rows[passed]], labels[rows[passed]]


@pytest.mark.parametrize(
    ("name", "reason", "passing"),
    [("planted_noise", "unlike_real", 0.02), ("planted_copies", "near_copy", 0.0)],
    ids=["noise", "copies"],
)
def test_next_to_nothing_passes_of_what_a_bad_generator_draws(
    name: str, reason: str, passing: float, digits: Digits, capsys: pytest.CaptureFixture[str]
) -> None:
    told, judged = digits.complete(name)
    assert told["accepted"] <= passing * told["drawn"]
    assert told["short"] == list(NAMES[1:])
    assert min(refused(told, label).get(reason, 0.0) for label in (1, 2, 3)) >= 0.9
    line = rf"class 'three' falls short: \d of 24 after 96 draws; {reason} refused \d\d\n"
    assert re.search(line, capsys.readouterr().err)
    assert judged["verdict"] == "hold"


def test_of_a_generator_that_has_collapsed_one_image_a_class_passes(digits: Digits, tmp_path: Path) -> None:
    images, labels = unseen(digits)
    first = [np.flatnonzero(labels == label)[0] for label in range(len(NAMES))]
    np.savez(tmp_path / "one.npz", images=images[first], labels=labels[first])
    told, judged = digits.complete("planted_given", images=str(tmp_path / "one.npz"))
    assert [told["classes"][name]["accepted"] for name in NAMES] == [0, 1, 1, 1]
    assert told["short"] == list(NAMES[1:])
    assert all(set(refused(told, label)) == {"near_duplicate"} for label in (1, 2, 3))
    assert judged["verdict"] == "hold"


def test_the_same_generator_fills_the_plan_from_many_images(digits: Digits, tmp_path: Path) -> None:
    """So it is the repetition that was refused above, and no check refuses whatever it sees."""
    images, labels = unseen(digits)
    np.savez(tmp_path / "many.npz", images=images, labels=labels)
    told, _ = digits.complete("planted_given", images=str(tmp_path / "many.npz"))
    assert told["short"] == []
    assert told["refused_share"] < 0.5


def test_without_a_gate_noise_is_found_out_by_the_verdict(digits: Digits) -> None:
    """Where added images count as much as real ones to the end."""
    told, judged = digits.complete("planted_noise", gate={}, added={"weight": 1.0, "final_weight": 1.0})
    assert told["accepted"] == sum(WANTED)
    assert told["real_pass_share"] == {"all": 1.0}
    assert judged["verdict"] == "hold"
    arms = judged["arms"]
    assert arms["completed"]["balanced_accuracy"]["mean"] < arms["augmented"]["balanced_accuracy"]["mean"]


@pytest.mark.usefixtures("digits")
def test_a_planted_generator_is_found_by_its_file_s_name() -> None:
    assert set(PLANTED) <= set(registry.names("pipeline.generators"))
    assert generators.create("planted_noise", {}, (1, 8, 8), 4, seed=0).name == "planted_noise"
