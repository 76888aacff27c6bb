import numpy as np
import pytest

from pipeline import strategies
from pipeline.errors import UserError
from pipeline.metrics.bias.learning_curve import Curves
from pipeline.plan import ClassPlan
from pipeline.strategies import Limits, Override, Situation

NAMES = ("cat", "dog", "owl")
LIMITS = Limits(1.0, 0.5, 20, 20)
SITUATION = Situation(np.array([10, 6, 2]), None, Curves(np.ones(3), np.full(3, 0.5)), worth=0.5)


def made(overrides: dict[str, Override]) -> dict[str, ClassPlan]:
    return strategies.make("count", {"count": {"toward": "even"}}, NAMES, SITUATION, LIMITS, overrides)


def test_a_class_s_own_numbers_replace_the_strategy_s_even_beyond_its_limits() -> None:
    assert made({"owl": Override(augment=500), "cat": Override(augment=1, synthesize=2)}) == {
        "cat": ClassPlan(10, 1, 2),
        "dog": ClassPlan(6, 2, 2),
        "owl": ClassPlan(2, 500, 4),
    }
    assert made({"owl": Override(synthesize=0)})["owl"] == ClassPlan(2, 4, 0)


def test_an_unknown_class_is_told_with_its_near_match() -> None:
    strategies.check_classes(["cat", "owl"], NAMES)
    with pytest.raises(UserError) as caught:
        strategies.check_classes(["cat", "dgo", "zebra"], NAMES)
    assert str(caught.value).splitlines() == [
        "params.yaml: analyze_bias.overrides: unknown class 'dgo'; did you mean 'dog'?",
        "params.yaml: analyze_bias.overrides: unknown class 'zebra'; known: cat, dog, owl",
    ]


def test_an_unknown_strategy_is_told() -> None:
    with pytest.raises(UserError, match=r"^unknown strategy 'cuont'; did you mean 'count'\? Known: count, gain$"):
        strategies.make("cuont", {}, NAMES, SITUATION, LIMITS, {})


def test_the_cost_by_hand() -> None:
    found = strategies.cost(made({}), SITUATION, np.array([100.0, 50.0, 200.5]))
    # 4 images for the second class, 8 for the third.
    assert (found.augment, found.synthesize, found.bytes) == (6, 6, 4 * 50 + 8 * 200.5)
    assert found.error_before == pytest.approx((10**-0.5 + 6**-0.5 + 2**-0.5) / 3)
    assert found.error_after == pytest.approx((10**-0.5 + 8**-0.5 + 6**-0.5) / 3)
