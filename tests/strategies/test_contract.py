"""What every strategy must hold to; a new file in the folder is checked unasked."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pipeline import params as sections
from pipeline import registry, strategies
from pipeline.metrics.bias.learning_curve import Curves
from pipeline.strategies import Limits, Situation
from tests.tiny import ROOT

NAMES = registry.names("pipeline.strategies")
OPTIONS: dict[str, Any] = sections.read(ROOT / "params.yaml")["analyze_bias"]["strategies"]
LIMITS = Limits(target=1.5, augment_share=0.3, max_augment=2.5, max_synthesize=4)

every_strategy = pytest.mark.parametrize("name", NAMES)


def situation(*counts: int) -> Situation:
    classes = np.arange(len(counts))
    curves = Curves(0.9 - 0.05 * classes, 0.5 - 0.04 * classes)
    return Situation(np.array(counts), np.full(len(counts), 1 / len(counts)), curves, worth=0.25)


def module_and_params(name: str) -> tuple[ModuleType, Any]:
    module = registry.get("pipeline.strategies", name)
    return module, sections.build(module.Params, OPTIONS[name], name)


@every_strategy
def test_params_yaml_has_its_options(name: str) -> None:
    module_and_params(name)


@every_strategy
@pytest.mark.parametrize("counts", [(100, 40, 7, 1), (5, 5), (3, 1000, 2), (1, 1, 1)])
def test_a_plan_is_whole_numbers_within_the_limits(name: str, counts: tuple[int, ...]) -> None:
    module, params = module_and_params(name)
    given = situation(*counts)
    augment, synthesize = module.plan(given, LIMITS, params)
    for planned, most in zip((augment, synthesize), LIMITS.most(given.counts), strict=True):
        assert planned.dtype == np.int64
        assert planned.shape == (len(counts),)
        assert (planned >= 0).all()
        assert (planned <= most).all()
    assert (augment + synthesize).sum() > 0


@every_strategy
def test_the_order_of_the_classes_does_not_matter(name: str) -> None:
    module, params = module_and_params(name)
    given, order = situation(90, 40, 7, 2), np.array([2, 0, 3, 1])
    curves = Curves(given.curves.scale[order], given.curves.exponent[order])
    turned = Situation(given.counts[order], given.reference, curves, given.worth)
    for one, other in zip(module.plan(given, LIMITS, params), module.plan(turned, LIMITS, params), strict=True):
        np.testing.assert_array_equal(one[order], other)


@every_strategy
def test_nothing_is_planned_where_nothing_may_be(name: str) -> None:
    module, params = module_and_params(name)
    for limits in (Limits(0.0, 0.5, 9, 9), Limits(1.0, 0.5, 0, 0)):
        assert not np.any(module.plan(situation(50, 10, 2), limits, params))
    only_synthesized = module.plan(situation(50, 10, 2), Limits(1.0, 0.5, 0, 3), params)
    assert not only_synthesized[0].any()
    assert only_synthesized[1].any()


@every_strategy
def test_it_is_chosen_by_its_name(name: str) -> None:
    given = situation(30, 6)
    plan = strategies.make(name, OPTIONS, ("a", "b"), given, LIMITS, {})
    module, params = module_and_params(name)
    augment, synthesize = module.plan(given, LIMITS, params)
    assert [(e.real, e.augment, e.synthesize) for e in plan.values()] == [
        (30, augment[0], synthesize[0]),
        (6, augment[1], synthesize[1]),
    ]
