"""Convolutions whose gradient by the image is differentiated again, as a gradient penalty does."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SmoothConv2d(nn.Conv2d):
    """A Conv2d, without dilation and groups, of which a gradient penalty is cheap.

    Where a graph of gradients is made (`create_graph`), the gradient is that of the image alone: the weights get none,
    and `torch.autograd.grad` by them raises RuntimeError. Torch works theirs out too there, twice through, and as
    convolutions by kernels as large as the image (Karras et al. 2021 avoid it the same way for StyleGAN).
    """

    def _conv_forward(self, images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        kind = images.device.type
        if torch.is_autocast_enabled(kind):  # a Function's gradients are taken as they come, whatever the precision
            dtype = torch.get_autocast_dtype(kind)
            images, weight, bias = images.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
        out: Tensor = _Convolution.apply(  # type: ignore[no-untyped-call]
            images, weight, bias, self.stride, self.padding
        )
        return out


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        how = ctx.stride, ctx.padding
        if torch.is_grad_enabled():
            return F.conv_transpose2d(slope, weight, None, *how, _left_over(images, weight, *how)), *(None,) * 4
        wanted = list(ctx.needs_input_grad[:3])
        slopes: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
            slope, images, weight, [len(weight)], *how, [1, 1], False, [0, 0], 1, wanted
        )
        return *slopes, None, None


def _left_over(images: Tensor, weight: Tensor, stride: tuple[int, int], padding: tuple[int, int]) -> list[int]:
    """Rows and columns at the end of the image that the convolution's last step does not reach."""
    return [
        (side + 2 * border - reach) % pace
        for side, border, reach, pace in zip(images.shape[2:], padding, weight.shape[2:], stride, strict=True)
    ]
