"""What generators share: options of drawing, sizes, noise, micro-batches."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import generators
from pipeline.errors import UserError
from pipeline.generators import MICRO_BATCH, blend, halved, in_micro_batches, noise

WHERE = "params.yaml: synthesize.sampling"


@pytest.mark.parametrize(
    ("options", "lines"),
    [
        ({"vea": {}}, [f"{WHERE}.vea: unknown generator 'vea'; did you mean 'vae'? Known: flow, gan, vae"]),
        ({"vae": {"temperature": 0}}, [f"{WHERE}.vae.temperature should be greater than 0, got 0"]),
        ({"flow": {"solver": "rk4"}}, [f"{WHERE}.flow.solver should be 'euler' or 'heun', got 'rk4'"]),
        (
            {"gan": {"truncation": "x", "psi": 1}, "vae": {"source_style": 2}},
            [
                f"{WHERE}.gan.truncation should be a valid number, got 'x'",
                f"{WHERE}.gan.psi: unknown key",
                f"{WHERE}.vae.source_style should be less than or equal to 1, got 2",
            ],
        ),
    ],
)
def test_wrong_options_are_told_all_at_once(options: dict[str, dict[str, Any]], lines: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        generators.check_sampling(options)
    assert str(caught.value).splitlines() == lines


def test_a_generator_without_options_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        generators.sampling("gan", {"vae": {}})
    assert str(caught.value) == f"{WHERE}: has no options for 'gan'; expected a section of that name"


def test_right_options_are_taken() -> None:
    generators.check_sampling({"vae": {"temperature": 0.5}, "flow": {}})
    assert generators.sampling("vae", {"vae": {"temperature": 0.5}}).temperature == 0.5


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 8, 8), [(8, 8), (4, 4)]),
        ((3, 9, 9), [(9, 9), (5, 5)]),
        ((3, 50, 50), [(50, 50), (25, 25), (13, 13), (7, 7)]),
        ((3, 128, 128), [(128, 128), (64, 64), (32, 32), (16, 16), (8, 8), (4, 4)]),
    ],
)
def test_sizes_by_hand(shape: tuple[int, int, int], sizes: list[tuple[int, int]]) -> None:
    assert halved(shape) == sizes


def test_a_row_of_noise_comes_from_its_seed_alone() -> None:
    rows = noise(np.array([5, 7, 5]), 4)
    assert torch.equal(rows[0], rows[2])
    assert not torch.equal(rows[0], rows[1])
    assert torch.equal(noise(np.array([7]), 4)[0], rows[1])
    assert noise(np.array([], dtype=np.int64), 4).shape == (0, 4)
    many = noise(np.arange(4000), 1)
    assert abs(float(many.mean())) < 0.05
    assert abs(float(many.std()) - 1) < 0.05


@pytest.mark.parametrize("count", [0, 1, MICRO_BATCH, MICRO_BATCH + 1])
def test_every_micro_batch_is_full(count: int) -> None:
    seen: list[int] = []

    def double(values: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        seen.append(len(values))
        return values * 2 + labels

    values, labels = torch.arange(count, dtype=torch.float32), torch.ones(count, dtype=torch.int64)
    assert torch.equal(in_micro_batches(double, values, labels), values * 2 + 1)
    assert seen == [MICRO_BATCH] * max(1, -(-count // MICRO_BATCH))


def test_a_style_lies_between_the_domains() -> None:
    domains = nn.Embedding(2, 2)
    domains.weight.data = torch.tensor([[0.0, 4.0], [8.0, 0.0]])
    expected = torch.tensor([[0.0, 4.0], [2.0, 3.0], [8.0, 0.0]])
    torch.testing.assert_close(blend(domains, torch.tensor([0.0, 0.25, 1.0])), expected)
