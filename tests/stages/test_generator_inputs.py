"""Every generator through its stages on awkward data: each runs, or says what is wrong in one line."""

from pathlib import Path

import numpy as np
import pytest

from pipeline import generators, params, registry
from pipeline.atomic import write_json
from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.images import SHAPE_FILE
from pipeline.stages import train_generator
from pipeline.stages.synthesize import load_generator
from tests.stages.chain import Chain
from tests.tiny import ROOT, bars, write

SECTIONS = params.read(ROOT / "params.yaml")
OPTIONS = SECTIONS["train_generator"]["generators"]
GATE, SAMPLING = SECTIONS["synthesize"]["gate"], SECTIONS["synthesize"]["sampling"]
KINDS = registry.names("pipeline.generators")
SHORT = {"steps": 3, "batch_size": 4}
MANY = tuple(f"class {number}" for number in range(6))

every_kind = pytest.mark.parametrize("name", KINDS)


def chain_of(root: Path, counts: list[int], shape: tuple[int, int, int]) -> Chain:
    """A chain with so many training images of each class, of this shape, and nothing augmented."""
    chain = Chain(root)
    labels = np.repeat(np.arange(len(counts)), counts)
    chain.train = write(root / "own" / "train", bars(labels, shape), labels, MANY[: len(counts)])
    write_json(chain.train / SHAPE_FILE, {"size": min(shape[1:]), "channels": shape[0], "how": "pad"})
    for name in ("val", "augmented"):
        setattr(chain, name, write(root / "own" / name, bars([], shape), [], MANY[: len(counts)]))
    return chain


def narrow(name: str) -> dict[str, dict[str, object]]:
    return {name: OPTIONS[name] | ({"width": 8} if "width" in OPTIONS[name] else {})}


def quick(name: str) -> dict[str, dict[str, object]]:
    """Draws by few steps, where a generator takes steps."""
    return {name: {"steps": 2} if "steps" in SAMPLING[name] else {}}


@every_kind
def test_more_classes_than_a_batch_holds_some_of_one_image_and_one_of_none_in_colour_and_no_square(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = chain_of(tmp_path, [4, 3, 2, 1, 1, 0], (3, 9, 13))
    chain.train_source()
    chain.train_generator(name=name, generators=narrow(name), schedule=SHORT)
    chain.baseline()
    made = Dataset.open(chain.synthesize(wanted=[0, 2, 0, 2, 0, 2], sampling=quick(name)))
    assert made.class_counts().tolist() == [0, 2, 0, 2, 0, 2]
    assert made.image_shape == (3, 9, 13)
    chain.synthesize("gated", wanted=[0, 2, 0, 2, 0, 2], gate=GATE, max_draws=2, sampling=quick(name))
    assert chain.json("gated")["unjudged"] == ["class 5"]
    assert chain.json("gated")["drawn"] <= 12
    assert Dataset.open(chain.synthesize("empty", wanted=[0] * 6, gate=GATE, sampling=quick(name))).num_rows == 0


@every_kind
@pytest.mark.parametrize("shape", [(1, 10, 10), (3, 30, 30), (1, 128, 128)], ids=str)
def test_sides_that_halve_unevenly_and_large_ones(
    name: str, shape: tuple[int, int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generators, "MICRO_BATCH", 2)  # less to draw, for the samples that training shows
    monkeypatch.setattr(train_generator, "SHEET_IMAGES", 1)
    folder = chain_of(tmp_path, [3, 1], shape).train_generator(
        name=name, generators=narrow(name), schedule=SHORT | {"steps": 1, "ema_decay": 0.0}
    )
    images = load_generator(folder).sample(np.array([1]), np.array([0]))
    assert images.shape == (1, *shape)
    assert images.isfinite().all()


@every_kind
def test_images_that_are_too_small_are_one_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^the {name} makes images of at least 8 x 8 pixels, got 7 x 12; .*$"):
        chain_of(tmp_path, [2, 1], (1, 12, 7)).train_generator(name=name, schedule=SHORT)


def test_a_batch_that_not_every_process_gets_an_image_of_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_DEVICES", "2")
    line = r"^params.yaml: train_generator.schedule.batch_size must be at least 2, .* COUNTERWEIGHT_DEVICES, got 1$"
    with pytest.raises(UserError, match=line):
        chain_of(tmp_path, [2, 1], (1, 8, 8)).train_generator(schedule=SHORT | {"batch_size": 1})
