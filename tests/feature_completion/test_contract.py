"""What every method must hold to; a new file in the folder is checked unasked."""

from typing import Any

import numpy as np
import pytest
import torch

from pipeline import params as sections
from pipeline import registry
from pipeline.errors import UserError
from pipeline.feature_completion import Known, complete
from tests.tiny import ROOT, merged

NAMES = registry.names("pipeline.feature_completion")
OPTIONS: dict[str, Any] = merged(
    sections.read(ROOT / "params.yaml")["complete_features"]["methods"], {"diffusion": {"width": 16, "updates": 30}}
)
COUNTS = np.array([12, 9, 2, 1])
LABELS = np.repeat(np.arange(4), COUNTS)

every_method = pytest.mark.parametrize("name", NAMES)


def known(low: float = 0.0, rich: tuple[int, ...] = (0, 1)) -> Known:
    """Features whose classes lie apart, the smallest of them a bit above `low`."""
    noise = torch.rand(len(LABELS), 5, generator=torch.Generator().manual_seed(0))
    return Known(noise + 3 * torch.eye(4, 5)[LABELS] + low, LABELS, np.array(rich))


@every_method
def test_params_yaml_has_its_options(name: str) -> None:
    sections.build(registry.get("pipeline.feature_completion", name).Params, OPTIONS[name], name)


@every_method
def test_so_many_of_each_class_in_the_labels_order(name: str) -> None:
    made, labels = complete(name, OPTIONS, known(), np.array([0, 0, 3, 2]), seed=0)
    assert labels.tolist() == [2, 2, 2, 3, 3]
    assert made.shape == (5, 5)
    assert made.dtype == torch.float64
    assert torch.isfinite(made).all()
    assert len(made.unique(dim=0)) == 5


@every_method
def test_one_rich_class_is_enough(name: str) -> None:
    made, _ = complete(name, OPTIONS, known(rich=(0,)), np.array([0, 0, 3, 2]), seed=0)
    assert torch.isfinite(made).all()


@every_method
def test_features_that_are_never_negative_stay_so_and_others_may_be(name: str) -> None:
    wanted = np.array([0, 0, 200, 200])
    assert (complete(name, OPTIONS, known(), wanted, seed=0)[0] >= 0).all()
    assert (complete(name, OPTIONS, known(low=-1.0), wanted, seed=0)[0] < 0).any()


@every_method
def test_equal_seeds_make_equal_features_and_others_different_ones(name: str) -> None:
    wanted = np.array([0, 0, 3, 2])
    one, again, other = (complete(name, OPTIONS, known(), wanted, seed)[0] for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.isclose(one, other).any(dim=1).all()


@every_method
def test_the_state_of_torch_s_own_generator_is_neither_used_nor_changed(name: str) -> None:
    torch.manual_seed(5)
    one = complete(name, OPTIONS, known(), np.array([0, 0, 1, 1]), seed=1)[0]
    state = torch.get_rng_state()
    torch.manual_seed(6)
    assert torch.equal(one, complete(name, OPTIONS, known(), np.array([0, 0, 1, 1]), seed=1)[0])
    torch.manual_seed(5)
    assert torch.equal(state, torch.get_rng_state())


@every_method
def test_an_unknown_option_is_one_clear_line(name: str) -> None:
    with pytest.raises(UserError) as caught:
        complete(name, OPTIONS | {name: OPTIONS[name] | {"colour": 1}}, known(), np.array([0, 0, 1, 1]), seed=1)
    assert str(caught.value) == f"params.yaml: complete_features.methods.{name}.colour: unknown key"


def test_an_unknown_method_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        complete("callibration", OPTIONS, known(), np.array([0, 0, 1, 1]), seed=1)
    assert str(caught.value) == "unknown method 'callibration'; did you mean 'calibration'? Known: " + ", ".join(NAMES)
