"""The three transfers and fine-tuning, from params.yaml to the saved networks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.params import build, read
from pipeline.stages.train_classifier import Params
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import load, load_task
from tests.builders import digests
from tests.stages.chain import Chain
from tests.tiny import ROOT, bars, merged, write, write_bars

HEAD = {"head.weight", "head.bias"}
SEED_0 = "balanced_softmax/seed-0"


def changed(chain: Chain, arm: str = "arm", name: str = SEED_0) -> set[str]:
    """Names of the weights that are not the source's."""
    source, own = load(chain.root / "source", "weights").state_dict(), load(chain.root / arm, name).state_dict()
    return {key for key, value in own.items() if not torch.equal(value, source[key])}


@pytest.mark.parametrize("fit", ["closed_form", "sgd"])
def test_by_features_the_trunk_stays_the_source_s_to_the_last_bit(chain: Chain, fit: str) -> None:
    chain.train_classifier("arm", chain.train, chain.augmented, transfer="feature", feature={"fit": fit})
    assert changed(chain) == HEAD
    again = digests(chain.train_classifier("b", chain.train, chain.augmented, transfer="feature", feature={"fit": fit}))
    assert again == digests(chain.root / "arm")
    assert chain.text("arm.csv").count("\n") > 3


def test_the_closed_form_is_where_the_gradient_of_both_terms_and_the_pull_is_zero(chain: Chain) -> None:
    added = {"weight": 0.6, "final_weight": 0.2}
    chain.train_classifier("arm", chain.train, chain.augmented, transfer="feature", added=added)
    network, source = load(chain.root / "arm", SEED_0), load(chain.root / "source", "weights").head
    W, b = (value.detach().double().requires_grad_() for value in (network.head.weight, network.head.bias))
    total, size = torch.zeros((), dtype=torch.float64), 0.0
    stores = [PixelStore(Dataset.open(folder)) for folder in (chain.train, chain.augmented)]
    real, more = (np.bincount(store.labels, store.weights, minlength=3) for store in stores)
    counts = torch.from_numpy(real + 0.4 * real.sum() * more / more.sum())
    for store, share in zip(stores, (1.0, 0.4), strict=True):
        x, y = logits_and_features(network, store.images())[1].double(), torch.from_numpy(store.labels)
        log_probs = F.log_softmax(x @ W.T + b + counts.log(), dim=1)
        smooth = log_probs.mean(dim=1)
        values = -0.9 * log_probs.gather(1, y[:, None])[:, 0] - 0.1 * smooth  # params.yaml smooths by 0.1
        total = total + share * values.mean()
        size += share * float(x.square().sum(dim=1).mean())
    pull = size * (W - source.weight.double()).square().sum() + (b - source.bias.double()).square().sum()
    (total + 0.01 / 2 * pull).backward()
    assert W.grad is not None
    assert b.grad is not None
    assert float(W.grad.abs().max()) < 1e-4 * size**0.5
    assert float(b.grad.abs().max()) < 1e-4


def test_by_features_other_classes_get_a_head_that_starts_from_zero(chain: Chain) -> None:
    names = ("left", "mid", "right")
    labels = [0] * 9 + [1] * 5 + [2]
    chain.train = write(chain.root / "other" / "train", bars(labels), labels, names)
    chain.val = write(chain.root / "other" / "val", bars([0, 1, 2], seed=4), [0, 1, 2], names, split="val")
    chain.train_classifier("arm", chain.train, transfer="feature", feature={"decay": 1e6})
    assert float(load(chain.root / "arm", SEED_0).head.weight.detach().abs().max()) < 1e-3
    assert set(chain.json("arm")["weight_names"]["fresh"]) == HEAD


def test_the_metrics_name_each_weight_and_what_became_of_it(chain: Chain) -> None:
    chain.train = write_bars(chain.root / "colour" / "train", [5, 3, 1], (3, 12, 12))
    chain.val = write_bars(chain.root / "colour" / "val", [1, 1, 1], (3, 12, 12))
    chain.train_classifier("arm", chain.train)
    told = chain.json("arm")
    assert told["weight_names"]["adapted"] == ["trunk.0.weight"]
    assert {fate: len(names) for fate, names in told["weight_names"].items()} == told["weights"]
    named = {name for names in told["weight_names"].values() for name in names}
    assert named == set(load(chain.root / "arm", SEED_0).state_dict())


@pytest.mark.parametrize("how", ["structure", "parameter"])
def test_the_structure_may_differ_from_the_source_s_and_what_does_not_fit_is_fresh(chain: Chain, how: str) -> None:
    chain.train_classifier("arm", chain.train, transfer=how, structure={"width": 6})
    assert load_task(chain.root / "arm").options == {"depth": 8, "width": 6}
    told = chain.json("arm")["weights"]
    assert told["taken"] == (0 if how == "structure" else 8)  # counters of batches in seven norms, and the head's bias
    chain.train_classifier("deeper", chain.train, transfer=how, structure={"depth": 20})
    assert (chain.json("deeper")["weights"]["taken"] > 8) == (how == "parameter")


@pytest.mark.parametrize(
    "fine_tuning",
    [{"layer_decay": 0.5}, {"unfreeze_every": 0.3}, {"l2_sp": 0.1}, {"affine_rank": 2}],
    ids=lambda options: next(iter(options)),
)
def test_each_way_of_fine_tuning_runs_and_changes_the_result(chain: Chain, fine_tuning: dict[str, Any]) -> None:
    plain = digests(chain.train_classifier("plain", chain.train))
    tuned = digests(chain.train_classifier("arm", chain.train, fine_tuning=fine_tuning))
    assert set(tuned) == set(plain)
    assert tuned[f"{SEED_0}.safetensors"] != plain[f"{SEED_0}.safetensors"]
    assert changed(chain) >= HEAD


def test_an_option_that_is_written_as_it_is_by_default_changes_no_bit(chain: Chain) -> None:
    plain = digests(chain.train_classifier("plain", chain.train, chain.augmented))
    off = {"layer_decay": 1.0, "unfreeze_every": 0.0, "l2_sp": 0.0, "affine_rank": None}
    assert digests(chain.train_classifier("off", chain.train, chain.augmented, fine_tuning=off)) == plain
    values = read(ROOT / "params.yaml")["train_classifier"]
    older = {key: value for key, value in values.items() if key not in ("structure", "feature", "fine_tuning")}
    assert build(Params, older, "x") == build(Params, values, "x")  # a params.yaml from before means the same


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"transfer": "features"}, "transfer should be 'feature', 'structure' or 'parameter', got 'features'"),
        ({"transfer": "feature", "structure": {"width": 8}}, "structure must be {} where transfer is feature"),
        (
            {"transfer": "structure", "fine_tuning": {"l2_sp": 1.0}},
            "fine_tuning goes with transfer: parameter, got 'str",
        ),
        ({"feature": {"fit": "ridge"}}, "feature.fit should be 'closed_form' or 'sgd', got 'ridge'"),
    ],
)
def test_a_wrong_value_is_one_clear_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        build(Params, merged(read(ROOT / "params.yaml")["train_classifier"], changes), "params.yaml: train_classifier")
    assert f"params.yaml: train_classifier.{line}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_transferred_is_one_clear_line_that_says_what_can(tmp_path: Path, chain: Chain) -> None:
    with pytest.raises(
        UserError, match=r"train_classifier\.structure\.wdth: unknown key; did you mean 'width'\? resnet has"
    ):
        chain.train_classifier("arm", chain.train, structure={"wdth": 8})
    with pytest.raises(
        UserError, match="the closed form wants a loss of logits alone, got 'balanced_contrastive'; take"
    ):
        chain.train_classifier("arm", chain.train, transfer="feature", loss="balanced_contrastive")
    chain.train_source(head="cosine")
    with pytest.raises(
        UserError, match=r"the closed form is that of a linear head; take train_classifier\.feature\.fit: sgd"
    ):
        chain.train_classifier("arm", chain.train, transfer="feature")
    chain.train_classifier("arm", chain.train, transfer="feature", feature={"fit": "sgd"})
    assert changed(chain) == {"head.weight"}
    nothing = Chain(tmp_path / "n").without_source_domain()
    nothing.train_source()
    with pytest.raises(
        UserError, match="feature needs a source that has learned something, and train_source had neither"
    ):
        nothing.train_classifier("arm", nothing.train, transfer="feature")
