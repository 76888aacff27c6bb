"""Where a source network's weights may come from besides labelled images: files, and images without labels."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline import backbones
from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.params import build, read
from pipeline.stages.train_source import Params
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import load, load_task, load_weights
from tests.builders import digests
from tests.stages.chain import Chain
from tests.tiny import ROOT, bars, merged, write

RESNET18 = {"backbone": "resnet_imagenet", "backbones": {"resnet_imagenet": {"depth": 18, "image_size": 32}}}
SIMCLR = {"task": "simclr", "images": "real/train"}


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    return Chain(tmp_path)


def published(path: Path) -> Path:
    network = backbones.create("resnet_imagenet", {"depth": 18, "image_size": 32}, 3, 4, seed=9)
    weights = network.trunk.model.state_dict() | {"fc.weight": torch.zeros(1000, 512), "fc.bias": torch.zeros(1000)}
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)
    return path


def test_published_weights_go_into_every_arm_without_a_source_domain(chain: Chain) -> None:
    path = published(chain.root / "resnet18.pth")
    chain.without_source_domain().train_source(**RESNET18, weights=str(path))
    metrics = chain.json("source")
    assert metrics["transferred"] is True
    assert metrics["weights"]["fresh"] == 2
    assert load_task(chain.root / "source").class_names == ()
    chain.train_classifier("arm", chain.train, seeds=1, recipe={"schedule": {"steps": 1, "batch_size": 4, "lr": 1e-9}})
    told = chain.json("arm")["weights"]
    assert (told["adapted"], told["fresh"]) == (0, 2)  # the grey images are repeated, so only the head is new
    given = torch.load(path, weights_only=True)["state_dict"]["module.layer3.0.conv1.weight"]
    network = load(chain.root / "arm", "balanced_softmax/seed-0")
    torch.testing.assert_close(network.trunk.model.layer3[0].conv1.weight, given, atol=1e-6, rtol=0)


def test_hidden_layers_that_are_not_in_the_weights_have_no_closed_form_and_are_trained(chain: Chain) -> None:
    path = str(published(chain.root / "resnet18.pth"))
    chain.without_source_domain().train_source(**RESNET18, weights=path, head="mlp", heads={"mlp": {"hidden": [6]}})
    short = {"seeds": 1, "transfer": "feature", "recipe": {"schedule": {"steps": 2, "batch_size": 4}}}
    with pytest.raises(
        UserError, match=r"hidden layers are not in the source's weights, .* take .*fit: sgd, or head: lin"
    ):
        chain.train_classifier("arm", chain.train, **short)
    chain.train_classifier("arm", chain.train, **short, feature={"fit": "sgd"})
    source = load_weights(chain.root / "source", "weights")
    own = load(chain.root / "arm", "balanced_softmax/seed-0").state_dict()
    assert {key for key in own if not key.startswith("trunk.")} == own.keys() - source.keys()
    assert all(torch.equal(own[key], value) for key, value in source.items())
    assert sorted(chain.json("arm")["weight_names"]["fresh"]) == sorted(own.keys() - source.keys())


def test_a_source_domain_goes_on_from_published_weights_unless_there_is_no_task(chain: Chain) -> None:
    path = str(published(chain.root / "resnet18.pth"))
    short = {"schedule": {"steps": 2, "batch_size": 4}}
    trained = load(chain.train_source("trained", **RESNET18, weights=path, recipe=short), "weights").state_dict()
    kept = load_weights(chain.train_source("kept", **RESNET18, weights=path, task="none", recipe=short), "weights")
    given = torch.load(path, weights_only=True)["state_dict"]
    for name in ("conv1.weight", "layer4.1.bn2.running_var"):
        assert torch.equal(kept[f"trunk.model.{name}"], given[f"module.{name}"])
        assert not torch.equal(trained[f"trunk.model.{name}"], given[f"module.{name}"])
    assert "held_out_accuracy" in chain.json("trained")
    assert "held_out_accuracy" not in chain.json("kept")


def test_without_labels_the_target_s_own_images_are_learned_from(chain: Chain) -> None:
    chain.source_domain = chain.train
    folder = chain.train_source(**SIMCLR)
    metrics = chain.json("source")
    assert (metrics["task"], metrics["images"]) == ("simclr", 15)
    assert load_task(folder).class_names == ()
    relabelled = write(
        chain.root / "other labels", bars(Dataset.open(chain.train).labels, seed=sum(b"train")), [0] * 15
    )
    chain.source_domain = relabelled
    assert digests(chain.train_source("blind", **SIMCLR)) == digests(folder)  # the labels are not seen
    assert digests(chain.train_source("other", **SIMCLR, seed=3)) != digests(folder)
    chain.train_classifier("arm", chain.train)
    assert chain.json("arm")["weights"]["fresh"] == 2


def test_simclr_brings_images_of_a_class_together_that_nobody_told_it(chain: Chain) -> None:
    chain.source_domain = write(chain.root / "many", bars([0, 1, 2] * 30), [0, 1, 2] * 30)
    labels = torch.tensor([0, 1, 2] * 10)
    held = PixelStore(Dataset.open(write(chain.root / "held", bars(labels.numpy(), seed=5), labels.numpy())))
    schedule = {"steps": 60, "batch_size": 32, "lr": 0.01}

    def contrast(steps: int) -> float:
        """Mean cosine within the classes, less that between them."""
        folder = chain.train_source(f"{steps}", task="simclr", recipe={"schedule": schedule | {"steps": steps}})
        z = torch.nn.functional.normalize(logits_and_features(load(folder, "weights"), held.images())[1])
        same = labels[:, None] == labels
        return float((z @ z.T)[same].mean() - (z @ z.T)[~same].mean())

    assert contrast(60) > contrast(1) + 0.15


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"task": "simcler"},
            "train_source.task: unknown task 'simcler'; did you mean 'simclr'? Known: supervised, none, ",
        ),
        (
            {"images": "real/train"},
            "train_source.images must be source_domain where task is supervised, got real/train",
        ),
        ({"images": "real/test"}, "train_source.images should be 'source_domain' or 'real/train', got 'real/test'"),
        (
            {"task": "simclr", "source_tasks": {"simclr": {"temperature": 0}}},
            "train_source.source_tasks.simclr.temperature should be greater than 0, got 0",
        ),
        ({"weights_sha256": "x"}, "train_source.weights_sha256 should"),
        ({"head": "linaer"}, "train_source.heads: unknown head 'linaer'; did you mean 'linear'?"),
    ],
)
def test_a_wrong_value_is_one_clear_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Params, merged(read(ROOT / "params.yaml")["train_source"], changes), "params.yaml: train_source")
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_image_can_not_be_compared(chain: Chain) -> None:
    chain.source_domain = write(chain.root / "one", bars([0]), [0])
    with pytest.raises(
        UserError, match="simclr compares images with each other and needs 2 in each part of a batch, got 1"
    ):
        chain.train_source(task="simclr")
