"""Generators of images. One file each; the folder is the registry.

A generator module has
    Params: its options, a section of params.yaml;
    build(options, image_shape, num_classes) -> Generator.
A generator trains in the common loop (`players`, `loss`) and then makes images, image i from `labels[i]` and `seeds[i]`
alone, whatever else is in the batch.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline import registry
from pipeline.params import build as build_params

KIND = "generator"
MICRO_BATCH = 64


class Batch(Protocol):
    """What a generator sees of a training batch."""

    images: Tensor
    labels: Tensor
    domains: Tensor


class Generator(nn.Module):
    """What training and synthesis ask of a generator."""

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that each player minimises over, in the order they move."""
        raise TypeError(f"{type(self).__name__} has no players")

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """The scalar that `player` minimises."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def remember(self, images: Tensor, label: int) -> None:
        """Takes what it wants to keep of a class's source-domain images, float [N, C, H, W], once after training."""

    def sample(self, labels: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64]) -> Tensor:
        """Images float [N, C, H, W] in [-1, 1] of the target domain."""
        raise TypeError(f"{type(self).__name__} cannot sample")


def create(
    name: str, options: dict[str, Any], image_shape: tuple[int, int, int], num_classes: int, seed: int
) -> Generator:
    """A freshly initialised generator; equal seeds give equal weights.

    Raises:
        UserError: unknown name, wrong options, or an image shape that the generator cannot make.
    """
    module = registry.get(__name__, name)
    params = build_params(module.Params, options, f"params.yaml: train_generator.generators.{name}")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        generator: Generator = module.build(params, image_shape, num_classes)
    return generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def noise(seeds: npt.NDArray[np.int64], size: int) -> Tensor:
    """Standard normal noise, float [N, size], row i from `seeds[i]` alone."""
    rows = [torch.randn(size, generator=torch.Generator().manual_seed(int(seed))) for seed in seeds]
    return torch.stack(rows) if rows else torch.empty(0, size)


@torch.inference_mode()
def in_micro_batches(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Applies `function` to padded batches of one fixed size, so that how many are asked for changes no image."""
    outputs = []
    for start in range(0, max(1, len(inputs[0])), MICRO_BATCH):  # none asked for: one batch tells the shape
        parts = [part[start : start + MICRO_BATCH] for part in inputs]
        filled = len(parts[0])
        padded = [torch.cat([part, part.new_zeros(MICRO_BATCH - filled, *part.shape[1:])]) for part in parts]
        outputs.append(function(*padded)[:filled])
    return torch.cat(outputs)
