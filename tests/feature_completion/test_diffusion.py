"""Sampling against distributions whose velocity is known in closed form, and learning of a real one."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.feature_completion import Known
from pipeline.feature_completion.diffusion import Params, draw, sample

NOISE = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
TWO = torch.tensor([[3.0, -1.0], [0.5, 2.0]])  # where the two classes lie


class Points(nn.Module):
    """The exact velocity where every feature of a class is the same one."""

    def forward(self, x: Tensor, angle: Tensor, labels: Tensor) -> Tensor:
        cos, sin, point = angle.cos()[:, None], angle.sin()[:, None], TWO[labels]
        return cos * (x - cos * point) / sin - sin * point


class Normal(nn.Module):
    """The exact velocity of normal features with mean 0 and standard deviation 0.5."""

    def forward(self, x: Tensor, angle: Tensor, _labels: Tensor) -> Tensor:
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        return x * sin * cos * (1 - 0.25) / (cos**2 * 0.25 + sin**2)


@pytest.mark.parametrize("steps", [1, 7])
def test_a_point_is_reached_exactly_in_any_number_of_steps(steps: int) -> None:
    for label in (0, 1):
        torch.testing.assert_close(sample(Points(), NOISE, label, steps), TWO[label].expand(500, 2), atol=1e-4, rtol=0)


def test_normal_noise_becomes_normal_features_narrowed_to_their_deviation() -> None:
    torch.testing.assert_close(sample(Normal(), NOISE, 0, 400), 0.5 * NOISE, atol=0.02, rtol=0)
    errors = [float((sample(Normal(), NOISE, 0, steps) - 0.5 * NOISE).abs().max()) for steps in (10, 100)]
    assert errors[0] > 5 * errors[1]  # the error falls as one over the steps


def test_it_learns_where_each_class_lies() -> None:
    rng, counts = torch.Generator().manual_seed(1), np.array([200, 10])
    labels = np.repeat([0, 1], counts)
    features = 100 * TWO[labels] + torch.randn(210, 2, generator=rng)
    params = Params(width=32, updates=300, batch_size=64, lr=0.01, class_balance=1.0, sampling_steps=20)
    made = draw(Known(features, labels, np.array([0])), np.array([50, 50]), 0, params)
    for rows, point in ((made[:50], 100 * TWO[0]), (made[50:], 100 * TWO[1])):
        assert float((rows - point).norm(dim=1).median()) < 0.1 * math.dist(*(100 * TWO).tolist())
