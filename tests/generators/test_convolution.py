"""The convolution that gradient penalties differentiate twice: everything as torch's own has it."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline.generators._convolution import SmoothConv2d

# height, width, kernel, stride
SHAPES = [(8, 8, (3, 3), 1), (8, 6, (4, 4), 2), (7, 8, (3, 4), 2), (9, 5, (3, 3), 2), (8, 8, (3, 3), 2)]


def pair(kernel: tuple[int, int], stride: int) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Ours and torch's, of equal weights."""
    torch.manual_seed(0)
    ours, theirs = (kind(2, 5, kernel, stride, 1).double() for kind in (SmoothConv2d, nn.Conv2d))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def penalty(conv: nn.Conv2d, images: Tensor) -> list[Tensor]:
    """The penalty on the gradient of a logit that is not linear in the image, and its slopes by image and weight."""
    seen = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(conv(seen).square().sum(), seen, create_graph=True)
    squared = gradient.square().sum()
    return [squared, *torch.autograd.grad(squared, (seen, conv.weight))]


def first_order(conv: nn.Conv2d, images: Tensor) -> list[Tensor]:
    """What it makes, and the slopes of a loss by image, weight and bias."""
    seen = images.clone().requires_grad_()
    out = conv(seen)
    return [out, *torch.autograd.grad(out.square().sum(), (seen, *conv.parameters()))]


@pytest.mark.parametrize("figures", [first_order, penalty])
@pytest.mark.parametrize(("height", "width", "kernel", "stride"), SHAPES)
def test_it_is_torch_s_own(
    figures: Callable[[nn.Conv2d, Tensor], list[Tensor]], height: int, width: int, kernel: tuple[int, int], stride: int
) -> None:
    images = torch.randn(3, 2, height, width, dtype=torch.float64)
    for got, expected in zip(*(figures(conv, images) for conv in pair(kernel, stride)), strict=True):
        assert expected.abs().max() > 0.01
        torch.testing.assert_close(got, expected)


def test_in_half_precision_too() -> None:
    images = torch.randn(3, 2, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        ours, theirs = (penalty(conv.float(), images) for conv in pair((4, 4), 2))
    for got, expected in zip(ours, theirs, strict=True):
        assert got.dtype == expected.dtype
        assert (got - expected).norm() < 0.02 * expected.norm()


def test_a_second_gradient_by_the_weights_is_refused_not_left_out() -> None:
    conv, _ = pair((3, 3), 1)
    loss = conv(torch.randn(3, 2, 8, 8, dtype=torch.float64)).square().sum()
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(loss, conv.weight, create_graph=True)
