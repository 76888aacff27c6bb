"""What every source task must do; a new file in the folder is tested unasked, with its options from params.yaml."""

from typing import Any

import pytest
import torch
from torch import nn

from pipeline import params, registry, source_tasks
from pipeline.errors import UserError
from tests.tiny import ROOT

OPTIONS: dict[str, dict[str, Any]] = params.read(ROOT / "params.yaml")["train_source"]["source_tasks"]
every_task = pytest.mark.parametrize("name", registry.names("pipeline.source_tasks"))


def views(number: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(6, 1, 4, 4, generator=rng) for _ in range(number)]


@every_task
def test_the_loss_is_a_number_that_trains_the_network_and_what_it_has_itself(name: str) -> None:
    criterion, num_views = source_tasks.create(name, OPTIONS[name], 5, seed=0)
    trunk = nn.Sequential(nn.Flatten(), nn.Linear(16, 5))
    loss = criterion(trunk, views(num_views))
    assert loss.shape == ()
    assert torch.isfinite(loss)
    loss.backward()
    assert all(parameter.grad is not None for parameter in (*trunk.parameters(), *criterion.parameters()))


@every_task
def test_equal_seeds_give_equal_weights(name: str) -> None:
    one, again, other = (source_tasks.create(name, OPTIONS[name], 5, seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert any(not torch.equal(one[key], other[key]) for key in one)


@every_task
def test_wrong_options_are_a_clear_line_each(name: str) -> None:
    with pytest.raises(UserError) as caught:
        source_tasks.create(name, OPTIONS[name] | {"colour": 1}, 5, 0)
    assert str(caught.value) == f"params.yaml: train_source.source_tasks.{name}.colour: unknown key"
