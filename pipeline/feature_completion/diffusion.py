"""A small diffusion model of features that is told the class: a poor one may have learned from the rich ones.

Han et al. 2024, "Latent-based Diffusion Model for Long-tailed Recognition" (LDMLR). A feature x and noise e mix as
x_a = cos(a) x + sin(a) e at an angle a from 0 to pi / 2. The network predicts v = cos(a) e - sin(a) x (Salimans & Ho
2022, appendix D), and sampling turns the angle back without new noise (DDIM, Song et al. 2021):
x_(a - d) = cos(d) x_a - sin(d) v.
"""

import math
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.feature_completion import Ints, Known
from pipeline.params import section
from pipeline.seeds import derive, seeded
from pipeline.training.batches import class_balanced_probs


@section
class Params:
    """Options of the diffusion model.

    Attributes:
        width: of its two hidden layers.
        updates: of its weights, each on `batch_size` features.
        lr: of AdamW, lowered along a cosine to zero.
        class_balance: 0 draws features as they come, 1 every class as often.
        sampling_steps: in which the angle is turned back.
    """

    width: Annotated[int, Field(ge=4, le=4096)]
    updates: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)]
    class_balance: Annotated[float, Field(ge=0, le=1)]
    sampling_steps: Annotated[int, Field(ge=1, le=1000)]


class Velocity(nn.Module):
    """v(x_a, a, class)."""

    def __init__(self, num_features: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.enter = nn.Linear(num_features + 2, width)
        self.classes = nn.Embedding(num_classes, width)
        self.between = nn.Linear(width, width)
        self.leave = nn.Linear(width, num_features)

    def forward(self, x: Tensor, angle: Tensor, labels: Tensor) -> Tensor:
        """Velocities [N, D] of x [N, D] at the angles [N]."""
        told = torch.cat([x, angle.cos()[:, None], angle.sin()[:, None]], dim=1)
        hidden = nn.functional.silu(self.enter(told) + self.classes(labels))
        out: Tensor = self.leave(nn.functional.silu(self.between(hidden)) + hidden)
        return out


def draw(known: Known, wanted: Ints, seed: int, params: Params) -> Tensor:
    """Features from a model that is trained on all of `known`, each class's from a seed of its own."""
    features = known.features.float()
    centre, scale = features.mean(dim=0), features.std(dim=0).clamp(min=1e-6)
    model = train((features - centre) / scale, known.labels, len(wanted), seed, params)
    drawn = []
    for label in np.flatnonzero(wanted):
        rng = torch.Generator().manual_seed(derive(seed, label))
        noise = torch.randn(int(wanted[label]), features.shape[1], generator=rng)
        drawn.append(sample(model, noise, int(label), params.sampling_steps))
    return (torch.cat(drawn) * scale + centre).double()


def train(features: Tensor, labels: Ints, num_classes: int, seed: int, params: Params) -> Velocity:
    """A model of standardised features [N, D]; equal seeds give equal weights."""
    with seeded(derive(seed, "weights")):
        model = Velocity(features.shape[1], num_classes, params.width)
    rng = torch.Generator().manual_seed(derive(seed, "training"))
    chances = torch.from_numpy(class_balanced_probs(labels, params.class_balance))
    classes = torch.from_numpy(labels)
    optimiser = torch.optim.AdamW(model.parameters(), lr=params.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, params.updates)
    for _ in range(params.updates):
        rows = torch.multinomial(chances, params.batch_size, replacement=True, generator=rng)
        angle = torch.rand(params.batch_size, generator=rng) * math.pi / 2
        noise = torch.randn(params.batch_size, features.shape[1], generator=rng)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        x = features[rows]
        error = model(cos * x + sin * noise, angle, classes[rows]) - (cos * noise - sin * x)
        optimiser.zero_grad()
        error.square().mean().backward()
        optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def sample(model: nn.Module, noise: Tensor, label: int, steps: int) -> Tensor:
    """Features [N, D] of a class, on the standardised scale, from noise [N, D]."""
    labels = torch.full((len(noise),), label)
    x, turn = noise, math.pi / 2 / steps
    for step in range(steps):
        angle = torch.full((len(x),), math.pi / 2 - step * turn)
        x = math.cos(turn) * x - math.sin(turn) * model(x, angle, labels)
    return x
