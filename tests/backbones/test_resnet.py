from typing import Any

import pytest
import torch

from pipeline import backbones
from pipeline.backbones.resnet import Block
from pipeline.errors import UserError


def num_parameters(depth: int, width: int = 16, in_channels: int = 3, num_classes: int = 10) -> int:
    network = backbones.create("resnet", {"depth": depth, "width": width}, in_channels, num_classes, 0)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(("depth", "expected"), [(20, 269_722), (32, 464_154)])
def test_the_published_networks_have_their_number_of_parameters(depth: int, expected: int) -> None:
    """He et al. 2016, table 6: 0.27 M and 0.46 M. With n blocks a stage, n = (depth - 2) / 6, 2n convolutions a stage.

    First convolution 3 * 16 * 9 = 432 and its norm 2 * 16 = 32; head 64 * 10 + 10 = 650.
    Stage 1: 2n (16 * 16 * 9 + 32) = 4,672 n.
    Stage 2: 16 * 32 * 9 + (2n - 1) * 32 * 32 * 9 + 2n * 64 = 18,560 n - 4,608.
    Stage 3: 32 * 64 * 9 + (2n - 1) * 64 * 64 * 9 + 2n * 128 = 73,984 n - 18,432.
    Total 97,216 n - 21,926: 269,722 for n = 3 and 464,154 for n = 5. Shortcuts have none (option A).
    """
    n = (depth - 2) // 6
    assert num_parameters(depth) == expected == 97_216 * n - 21_926


def test_fewer_channels_change_the_first_convolution_only() -> None:
    assert num_parameters(20) - num_parameters(20, in_channels=1) == 2 * 16 * 9


def test_the_shortcut_is_a_strided_slice_between_zero_channels() -> None:
    block = Block(2, 4, stride=2).eval()
    torch.nn.init.zeros_(block.conv2.weight)
    x = torch.arange(1.0, 33.0).view(1, 2, 4, 4)
    out = block(x)
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert not out[:, [0, 3]].any()


def test_the_last_stage_sees_a_quarter_of_each_side() -> None:
    network = backbones.create("resnet", {"depth": 8, "width": 4}, 1, 2, 0)
    assert network.trunk[:-2](torch.zeros(1, 1, 28, 28)).shape == (1, 16, 7, 7)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"depth": 18, "width": 16}, ".depth should be 8, 20, 32 or 56, got 18"),
        ({"depth": 8, "width": 2}, ".width should be greater than or equal to 4, got 2"),
        ({"depth": 8}, ".width: is missing"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        backbones.create("resnet", options, 1, 2, 0)
    assert str(caught.value) == "params.yaml: train_source.backbones.resnet" + line


def test_its_stages_are_the_first_convolution_and_the_three_of_the_paper() -> None:
    network = backbones.create("resnet", {"depth": 20, "width": 4}, 1, 2, 0)
    blocks = [{int(name.split(".")[1]) for name in stage} for stage in network.stages]
    assert blocks == [{0, 1}, {3, 4, 5}, {6, 7, 8}, {9, 10, 11}]
