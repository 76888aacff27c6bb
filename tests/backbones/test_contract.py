"""What every backbone must do; a new file in the folder is tested unasked, with its options from params.yaml."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline import backbones, params, registry
from pipeline.backbones import Network
from pipeline.errors import UserError
from tests.tiny import ROOT, merged

SMALL = {"resnet_imagenet": {"image_size": 32}, "inception_v3": {"image_size": 75}, "timm": {"image_size": 32}}
OPTIONS: dict[str, dict[str, Any]] = merged(params.read(ROOT / "params.yaml")["train_source"]["backbones"], SMALL)
KINDS = registry.names("pipeline.backbones")
NUM_CLASSES = 5

every_kind = pytest.mark.parametrize("name", KINDS)
every_number_of_channels = pytest.mark.parametrize("in_channels", [1, 3])


def make(name: str, in_channels: int = 1, seed: int = 0) -> Network:
    assert name in OPTIONS, f"params.yaml: train_source.backbones has no options for {name}"
    return backbones.create(name, OPTIONS[name], in_channels, NUM_CLASSES, seed)


def noise(in_channels: int, side: int, number: int = 4) -> Tensor:
    return torch.rand(number, in_channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@every_kind
@every_number_of_channels
@pytest.mark.parametrize("side", [8, 28, 33])
def test_shapes_and_that_the_head_on_the_features_is_the_network(name: str, in_channels: int, side: int) -> None:
    network = make(name, in_channels).eval()
    images = noise(in_channels, side)
    with torch.no_grad():
        logits, features = network(images), network.features(images)
        on_features = network.head(features)
    assert logits.shape == (4, NUM_CLASSES)
    assert features.shape == (4, network.head.in_features)
    assert torch.isfinite(logits).all()
    assert torch.equal(on_features, logits)


@every_kind
@every_number_of_channels
def test_every_parameter_has_a_finite_gradient(name: str, in_channels: int) -> None:
    network = make(name, in_channels).train()
    torch.nn.functional.cross_entropy(network(noise(in_channels, 8)), torch.arange(4)).backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
    assert any(parameter.grad.abs().sum() > 0 for parameter in network.trunk.parameters())


@every_kind
def test_equal_seeds_give_equal_weights_and_leave_the_global_rng_alone(name: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (make(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@every_kind
def test_a_network_of_another_seed_with_the_same_state_is_the_same(name: str) -> None:
    network, again = make(name), make(name, seed=9)
    network.train()(noise(1, 8))  # moves the running statistics, which are part of the state
    again.load_state_dict(network.state_dict())
    with torch.inference_mode():
        assert torch.equal(again.eval()(noise(1, 8)), network.eval()(noise(1, 8)))


@every_kind
def test_an_image_s_logits_do_not_depend_on_the_others_once_trained(name: str) -> None:
    network = make(name).eval()
    images = noise(1, 8, 6)
    with torch.inference_mode():
        torch.testing.assert_close(network(images)[2:3], network(images[2:3]), rtol=1e-4, atol=1e-5)


def test_an_unknown_name_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        backbones.create("resnt", {}, 1, NUM_CLASSES, 0)
    assert str(caught.value) == f"unknown backbone 'resnt'; did you mean 'resnet'? Known: {', '.join(KINDS)}"


@every_kind
def test_wrong_options_are_a_clear_line_each(name: str) -> None:
    with pytest.raises(UserError) as caught:
        backbones.create(name, OPTIONS[name] | {"colour": 1}, 1, NUM_CLASSES, 0)
    assert str(caught.value) == f"params.yaml: train_source.backbones.{name}.colour: unknown key"


@every_kind
def test_its_stages_hold_each_parameter_of_the_trunk_once_in_the_order_of_the_network(name: str) -> None:
    network = make(name)
    names = [parameter for stage in network.stages for parameter in stage]
    assert sorted(names) == sorted(f"trunk.{parameter}" for parameter, _ in network.trunk.named_parameters())
    assert all(network.stages)
