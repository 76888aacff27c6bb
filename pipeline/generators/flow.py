"""Class-conditional flow matching along straight paths (Lipman et al. 2023; Liu et al. 2023).

x_t = (1 - t) x_0 + t x_1 leads from noise x_0 ~ N(0, I) to an image x_1; the network learns the velocity of the paths,
    E |v(x_t, t, y, domain) - (x_1 - x_0)|^2 (Lipman et al., eq. 23 with sigma_min = 0),
and an image is the end of the ordinary differential equation dx = v dt that starts at noise. Some labels are dropped in
training, so that sampling can go beyond the class: v_0 + guidance (v_y - v_0) (Ho & Salimans 2022, eq. 6, whose w is
guidance - 1); the attribute, if there is one, is part of y and dropped with it. The domain tells images of the source
from those of the target, so that the target's classes learn from both.
"""

import math
from collections.abc import Callable
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.generators import NUM_DOMAINS, Batch, Generator, blend, check_sides, halved, in_micro_batches, noise, told
from pipeline.generators._classes import Classes
from pipeline.generators._unet import UNet, time_features
from pipeline.params import section
from pipeline.precision import has_bf16

Solver = Literal["euler", "heun"]


@section
class Params:
    """Options of the flow.

    Attributes:
        width: channels of the U-Net's full resolution.
        dropout: share of the features inside the network's blocks that training hides; against learning by heart.
        label_dropout: share of the labels that are hidden, for guidance.
        times: how t is drawn; logit_normal puts more weight on the middle (Esser et al. 2024, section 3.1).
        class_balance: weight of the class-balancing term (Qin et al. 2023); 0 is off.
    """

    width: Annotated[int, Field(ge=4, le=512, multiple_of=4)]
    dropout: Annotated[float, Field(ge=0, lt=1)]
    label_dropout: Annotated[float, Field(ge=0, lt=1)]
    times: Literal["uniform", "logit_normal"]
    class_balance: Annotated[float, Field(ge=0)]


@section
class Sampling:
    """How images are drawn.

    Attributes:
        guidance: 1 samples the class as it was learned, more makes images more typical of it and less varied.
        steps: of the solver.
        solver: euler asks the network once a step, heun twice.
        source_style: a sample's domain lies between the target and, at most, this share of the source.
        precision: of the network's products; auto is bfloat16 where the hardware has it, which moves a pixel by a third
            of a grey level on average.
    """

    guidance: Annotated[float, Field(ge=0, le=20)] = 1.0
    steps: Annotated[int, Field(ge=1, le=1000)] = 20
    solver: Solver = "heun"
    source_style: Annotated[float, Field(ge=0, le=1)] = 0.0
    precision: Literal["auto", "32"] = "32"


def build(params: Params, image_shape: tuple[int, int, int], num_classes: int, num_attributes: int) -> "Flow":
    """A flow for images of any size from 8 x 8 pixels on.

    Raises:
        UserError: they are smaller.
    """
    check_sides("flow", image_shape)
    return Flow(params, image_shape, num_classes, num_attributes)


class Flow(Generator):
    """The velocity field of the paths from noise to images."""

    judged_by = "flow"

    def __init__(
        self, params: Params, image_shape: tuple[int, int, int], num_classes: int, num_attributes: int = 0
    ) -> None:
        super().__init__()
        self.params, self.image_shape, self.num_classes = params, image_shape, num_classes
        size = 4 * params.width
        self.time = nn.Sequential(nn.Linear(size, size), nn.SiLU(), nn.Linear(size, size))
        self.classes = Classes(num_classes + 1, num_attributes, size)  # the last one: no class told
        self.domains = nn.Embedding(NUM_DOMAINS, size)
        self.network = UNet(image_shape[0], halved(image_shape), params.width, size, params.dropout)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player."""
        return {"flow": list(self.parameters())}

    def velocity(self, x: Tensor, t: Tensor, labels: Tensor, style: Tensor, attributes: Tensor | None = None) -> Tensor:
        """v(x_t, t, y, domain), [N, C, H, W].

        Args:
            t: float [N] from 0 (noise) to 1 (image).
            labels: int64 [N]; `num_classes` tells no class.
            style: domain of each image, float [N]: 0 the target, 1 the source, between them a mixture.
        """
        when = self.time(time_features(t, self.classes.embedding_dim))
        condition = F.silu(when + self.classes(labels, attributes) + blend(self.domains, style))
        out: Tensor = self.network(x, condition)
        return out

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """Mean squared error of the velocity, and the class-balancing term."""
        images, style = batch.images, batch.domains.to(batch.images.dtype)
        start, t = torch.randn_like(images), self._times(len(images), images.device)
        hidden = torch.rand(len(images), device=images.device) < self.params.label_dropout
        labels = torch.where(hidden, self.num_classes, batch.labels)
        attributes = None if batch.attributes is None else batch.attributes * ~hidden
        x_t = torch.lerp(start, images, t[:, None, None, None])
        v = self.velocity(x_t, t, labels, style, attributes)
        error = squared_error(v, images - start)
        if self.params.class_balance:
            others = torch.randint_like(batch.labels, self.num_classes)
            term = class_balancing(v, self.velocity(x_t, t, others, style, attributes), t)
            error = error + self.params.class_balance * term * ~hidden
        return error.mean()

    def _times(self, count: int, device: torch.device) -> Tensor:
        if self.params.times == "uniform":
            return torch.rand(count, device=device)
        return torch.randn(count, device=device).sigmoid()

    def sample(
        self,
        labels: npt.NDArray[np.int64],
        seeds: npt.NDArray[np.int64],
        sampling: Sampling | None = None,
        attributes: npt.NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Follows the guided field from noise that is drawn from the image's own seed."""
        sampling = sampling or Sampling()
        device, size = self.classes.weight.device, math.prod(self.image_shape)
        drawn = noise(seeds, size + 1).to(device)
        style = sampling.source_style * torch.special.ndtr(drawn[:, size])

        lower = sampling.precision == "auto" and has_bf16(device)

        def draw(start: Tensor, classes: Tensor, style: Tensor, values: Tensor) -> Tensor:
            def field(x: Tensor, t: float) -> Tensor:
                with torch.autocast(device.type, torch.bfloat16, enabled=lower):
                    return self._guided(x, t, (classes, values), style, sampling.guidance).to(x.dtype)

            return integrate(field, start, sampling.steps, sampling.solver).clamp(-1, 1)

        start = drawn[:, :size].view(-1, *self.image_shape).contiguous(memory_format=torch.channels_last)
        classes, values = told(labels, attributes, device)
        return in_micro_batches(draw, start, classes, style, values)

    def _guided(self, x: Tensor, t: float, wanted: tuple[Tensor, Tensor], style: Tensor, guidance: float) -> Tensor:
        labels, values = wanted
        times = torch.full((len(x),), t, device=x.device)
        if guidance == 1:
            return self.velocity(x, times, labels, style, values)
        labels = torch.cat([labels, torch.full_like(labels, self.num_classes)])
        values = torch.cat([values, torch.zeros_like(values)])
        both = self.velocity(x.repeat(2, 1, 1, 1), times.repeat(2), labels, style.repeat(2), values)
        with_class, without = both.chunk(2)
        return torch.lerp(without, with_class, guidance)


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean over the pixels of each image, [N]."""
    return (a - b).square().flatten(1).mean(dim=1)


def class_balancing(v: Tensor, other: Tensor, t: Tensor, gamma: float = 0.25) -> Tensor:
    """Draws the field of each image's class and that of a class drawn evenly to each other, [N].

    Class-balancing diffusion models (Qin et al. 2023) do so with predictions of the noise,
    weighted by how much noise there is, here 1 - t. In x_t = (1 - t) x_0 + t x_1 the predicted noise is x_t - t v: a
    difference of noises is t times that of velocities in this term as in the loss, so their ratio is the paper's.
    """
    return (1 - t) * (squared_error(v, other.detach()) + gamma * squared_error(v.detach(), other))


def integrate(field: Callable[[Tensor, float], Tensor], x: Tensor, steps: int, solver: Solver) -> Tensor:
    """The solution at t = 1 of dx/dt = field(x, t) with x at t = 0, by steps of equal length.

    Heun's method is exact to the second order, Euler's to the first (Hairer et al. 1993, section II.1).
    """
    h = 1 / steps
    for step in range(steps):
        v = field(x, step * h)
        if solver == "heun":
            v = (v + field(x + h * v, (step + 1) * h)) / 2
        x = x + h * v
    return x
