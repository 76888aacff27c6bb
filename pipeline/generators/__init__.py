"""Generators of images. One file each; the folder is the registry.

A generator module has
    Params: what it is and how it learns, under train_generator.generators.NAME of params.yaml;
    Sampling: how images are drawn from it, under synthesize.sampling.NAME: to draw otherwise trains nothing anew. Its
        defaults draw from what was learned as it is;
    build(params, image_shape, num_classes, num_attributes) -> Generator.
A generator trains in the common loop (`players`, `loss`, `optimiser`) and then makes images, image i from `labels[i]`,
`seeds[i]`, `attributes[i]` and the sampling's options alone, whatever else is in the batch.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline import registry
from pipeline.errors import UserError
from pipeline.params import build as build_params
from pipeline.seeds import seeded

KIND = "generator"
MICRO_BATCH = 64
NUM_DOMAINS = 2
MIN_SIDE = 8
SAMPLING = "params.yaml: synthesize.sampling"


class Batch(Protocol):
    """What a generator sees of a training batch."""

    images: Tensor
    labels: Tensor
    domains: Tensor
    attributes: Tensor | None


class Generator(nn.Module):
    """What training and synthesis ask of a generator.

    Attributes:
        judged_by: the player whose loss on unseen images says how good the generator is, if there is one.
        attributes: names of the attribute's values 1, 2, … that it is told beside the class.
    """

    name = ""
    attributes: tuple[str, ...] = ()
    judged_by: str | None = None

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that each player minimises over, in the order they move."""
        raise TypeError(f"{type(self).__name__} has no players")

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """The scalar that `player` minimises."""
        raise TypeError(f"{type(self).__name__} has no loss")

    def optimiser(self, player: str) -> dict[str, Any]:
        """What the player's AdamW has other than the schedule's: lr, betas, weight_decay."""
        return {}

    def compilable(self) -> list[nn.Module]:
        """Parts that torch.compile may take; those that are differentiated twice may not."""
        return [child for child in self.children() if not isinstance(child, nn.Embedding)]

    def remember(self, images: Tensor, label: int) -> None:
        """Takes what it wants to keep of a class's source-domain images, float [N, C, H, W], once after training."""

    def sample(
        self,
        labels: npt.NDArray[np.int64],
        seeds: npt.NDArray[np.int64],
        sampling: Any = None,
        attributes: npt.NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Images float [N, C, H, W] in [-1, 1].

        Args:
            sampling: of the module's class `Sampling`; None draws from what was learned as it is.
            attributes: value of the attribute, 0 for none given; None gives none to any.
        """
        raise TypeError(f"{type(self).__name__} cannot sample")


def create(
    name: str,
    options: dict[str, Any],
    image_shape: tuple[int, int, int],
    num_classes: int,
    seed: int,
    attributes: Sequence[str] = (),
) -> Generator:
    """A freshly initialised generator; equal seeds give equal weights.

    Args:
        attributes: names of the values of the attribute that it is told beside the class.

    Raises:
        UserError: unknown name, wrong options, or an image shape that the generator cannot make.
    """
    module, params = registry.chosen(__name__, name, options, "params.yaml: train_generator.generators")
    with seeded(seed):
        generator: Generator = module.build(params, image_shape, num_classes, len(attributes))
    generator.name, generator.attributes = name, tuple(attributes)
    return generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def sampling(name: str, options: dict[str, dict[str, Any]]) -> Any:
    """How images are drawn from the generator `name`, its module's `Sampling`, from the options of several.

    Raises:
        UserError: unknown name, no options for it, or wrong ones.
    """
    if name not in options:
        raise UserError(f"{SAMPLING}: has no options for {name!r}; expected a section of that name")
    try:
        module = registry.get(__name__, name)
    except UserError as error:
        raise UserError(f"{SAMPLING}.{name}: {error}") from None
    return build_params(module.Sampling, options[name], f"{SAMPLING}.{name}")


def check_sampling(options: dict[str, dict[str, Any]]) -> None:
    """Checks the options of all generators named.

    Raises:
        UserError: names every problem, a line each.
    """
    problems = registry.option_problems(__name__, options, SAMPLING, part="Sampling")
    if problems:
        raise UserError("\n".join(problems))


def check_sides(name: str, image_shape: tuple[int, int, int]) -> None:
    """Asks for what every convolutional generator here needs.

    Raises:
        UserError: a side has less than 8 pixels.
    """
    _, height, width = image_shape
    if min(height, width) < MIN_SIDE:
        raise UserError(
            f"the {name} makes images of at least {MIN_SIDE} x {MIN_SIDE} pixels, got {width} x {height}; "
            "set ingest.image_size in params.yaml"
        )


def halved(image_shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    """Heights and widths, each half of the one before (rounded up), from the image's to the first below 8 pixels."""
    sizes = [image_shape[1:]]
    while max(sizes[-1]) >= MIN_SIDE:
        height, width = sizes[-1]
        sizes.append(((height + 1) // 2, (width + 1) // 2))
    return sizes


def blend(domains: nn.Embedding, style: Tensor) -> Tensor:
    """Embedding of the domain of each image, [N, D]; style 0 is the target, 1 the source, between them a mixture."""
    target, source = domains.weight
    return torch.lerp(target, source, style[:, None].to(target.dtype))


def told(labels: npt.NDArray[np.int64], attributes: npt.NDArray[np.int64] | None, device: torch.device) -> list[Tensor]:
    """Labels and values of the attribute as tensors, each int64 [N]; value 0 where none is given."""
    values = np.zeros_like(labels) if attributes is None else attributes
    return [torch.from_numpy(numbers).to(device) for numbers in (labels, values)]


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
