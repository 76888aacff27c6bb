"""An arm's networks as one classifier."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.metrics.temperature import pooled, tempered
from pipeline.prediction.ensemble import find_arm, open_arm
from pipeline.prediction.model import open_model
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import load
from pipeline.training.use import load_use
from tests.builders import save
from tests.prediction.conftest import noise
from tests.stages.chain import Chain
from tests.tiny import NAMES


def test_the_arm_answers_with_the_calibrated_mean_of_what_evaluate_asks(chain: Chain) -> None:
    folder = chain.root / "models/completed"
    images = PixelStore(Dataset.open(chain.test)).images()
    networks = [load(folder, f"balanced_softmax/seed-{number}") for number in (0, 1)]
    logits = np.stack([logits_and_features(network, images)[0].numpy() for network in networks])
    use, model = load_use(folder), open_model(folder)
    assert use.temperature("balanced_softmax") != 1.0
    expected = tempered(pooled(logits), use.temperature("balanced_softmax"))
    got = model.ask(images)
    assert got == pytest.approx(expected, abs=1e-5)
    mean = torch.from_numpy(logits).softmax(dim=2).mean(dim=0)
    assert (got.argmax(axis=1) == mean.argmax(dim=1).numpy()).all()  # calibrated or not
    assert (model.class_names, model.shape) == (NAMES, use.shape)


def test_one_seed_answers_under_its_own_temperature_and_agrees_with_evaluate(chain: Chain) -> None:
    folder = chain.root / "models/completed"
    images = PixelStore(Dataset.open(chain.test)).images()
    for seed in (0, 1):
        logits = logits_and_features(load(folder, f"balanced_softmax/seed-{seed}"), images)[0].numpy()
        got = open_arm(folder, seed).ask(images)
        temperature = load_use(folder).temperature(f"balanced_softmax/seed-{seed}")
        assert got == pytest.approx(tempered(logits, temperature), abs=1e-5)
        assert (got.argmax(axis=1) == logits.argmax(axis=1)).all()


def test_an_arm_of_several_losses_is_found_by_its_loss(chain: Chain) -> None:
    arm = find_arm(chain.root / "models/baseline" / "cross_entropy")
    assert arm.names == ("cross_entropy/seed-0", "cross_entropy/seed-1")
    assert arm.told.endswith("models/baseline, calibration: none")
    assert find_arm(chain.root / "models/baseline" / "cross_entropy", 1).told.startswith("1 network of ")


def test_without_a_temperature_the_mean_is_told_as_it_is(chain: Chain) -> None:
    folder, images = chain.root / "models/uncalibrated", noise(5)
    networks = [load(folder, f"balanced_softmax/seed-{number}") for number in (0, 1)]
    probs = [logits_and_features(network, images)[0].softmax(dim=1).numpy() for network in networks]
    assert open_arm(folder).ask(images) == pytest.approx(np.mean(probs, axis=0), abs=1e-5)


@pytest.mark.parametrize(
    ("name", "seed", "told"),
    [
        ("nowhere", None, r"nowhere: holds no model \(.*\); has its stage run\?$"),
        ("real/test", None, r"test: holds no model \(.*\); has its stage run\?$"),
        ("source", None, r"source: holds no classifiers of an arm; models/completed does$"),
        (
            "models/baseline",
            None,
            r"holds classifiers of balanced_softmax and cross_entropy; name one, such as .*/balanced",
        ),
        ("models/completed", 2, r"completed: has no network of seed 2; its seeds: 0, 1$"),
    ],
)
def test_what_is_no_arm_is_told_in_one_line(chain: Chain, name: str, seed: int | None, told: str) -> None:
    with pytest.raises(UserError, match=told) as caught:
        open_model(chain.root / name, seed)
    assert "\n" not in str(caught.value)


def test_a_model_that_does_not_say_how_its_images_were_prepared(chain: Chain, tmp_path: Path) -> None:
    source = chain.root / "models/uncalibrated"
    for path in source.rglob("*.*"):
        save(tmp_path / "m" / path.relative_to(source), path.read_bytes())
    use = json.loads((tmp_path / "m" / "use.json").read_text())
    (tmp_path / "m" / "use.json").write_text(json.dumps(use | {"shape": None}))
    with pytest.raises(UserError, match=r"m/use\.json: does not say what images are brought to; run ingest and this"):
        find_arm(tmp_path / "m")
    (tmp_path / "m" / "use.json").unlink()
    with pytest.raises(UserError, match=r"m/use\.json: cannot be read"):
        find_arm(tmp_path / "m")


def test_an_onnx_file_has_no_seeds(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"an ONNX file has no seeds to choose from"):
        open_model(save(tmp_path / "m.onnx", b""), 0)
