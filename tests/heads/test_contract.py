"""What every head must do; a new file in the folder is tested unasked, with its options from params.yaml."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline import backbones, heads, params, registry
from pipeline.errors import UserError
from tests.tiny import ROOT

OPTIONS: dict[str, dict[str, Any]] = params.read(ROOT / "params.yaml")["train_source"]["heads"]
every_head = pytest.mark.parametrize("name", registry.names("pipeline.heads"))
FEATURES = torch.randn(6, 7, generator=torch.Generator().manual_seed(0))


def make(name: str, seed: int = 0) -> backbones.Network:
    small = {"depth": 8, "width": 4}
    return backbones.create("resnet", small, 1, 5, seed, name, OPTIONS[name])


@every_head
def test_its_last_layer_makes_the_logits_and_tells_both_widths(name: str) -> None:
    layers = heads.create(name, OPTIONS[name], 7, 5)
    features = nn.Sequential(*layers[:-1])(FEATURES)
    assert features.shape == (6, layers[-1].in_features)
    assert layers[-1](features).shape == (6, layers[-1].out_features) == (6, 5)


@every_head
def test_all_of_it_learns_and_what_comes_before_the_last_layer_counts_as_features(name: str) -> None:
    network, images = make(name).train(), torch.rand(4, 1, 8, 8) * 2 - 1
    torch.nn.functional.cross_entropy(network(images), torch.arange(4)).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.eval()
    with torch.no_grad():
        assert torch.equal(network.head(network.features(images)), network(images))


@every_head
def test_equal_seeds_give_equal_weights_and_the_trunk_is_the_same_under_each_head(name: str) -> None:
    one, again, other, plain = make(name, 1), make(name, 1), make(name, 2), make("linear", 1)
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in one.state_dict().items())
    assert not torch.equal(one.head.weight, other.head.weight)
    assert all(torch.equal(value, plain.trunk.state_dict()[key]) for key, value in one.trunk.state_dict().items())


@every_head
def test_wrong_options_are_a_clear_line_each(name: str) -> None:
    with pytest.raises(UserError) as caught:
        heads.create(name, OPTIONS[name] | {"colour": 1}, 7, 5)
    assert str(caught.value) == f"params.yaml: train_source.heads.{name}.colour: unknown key"


def test_an_unknown_name_is_one_clear_line() -> None:
    with pytest.raises(UserError, match=r"^unknown head 'cosin'; did you mean 'cosine'\? Known: cosine, linear, mlp$"):
        heads.create("cosin", {}, 7, 5)
