import itertools

import numpy as np
import pytest

from pipeline.metrics.bias.learning_curve import Curves
from pipeline.strategies import Limits, Situation, gain


def situation(
    counts: list[int], exponent: list[float], scale: list[float] | None = None, worth: float = 1.0
) -> Situation:
    curves = Curves(np.array(scale or [1.0] * len(counts)), np.array(exponent))
    return Situation(np.array(counts), None, curves, worth)


def test_each_image_goes_where_it_helps_most_by_hand() -> None:
    # 1/n: from 1 to 2 saves 1/2, to 3 another 1/6, to 4 1/12; from 3 to 4 saves 1/12, from 4 to 5 1/20.
    given = situation([1, 3], [1.0, 1.0])
    assert [gain.spend(budget, given, np.array([9, 9])).tolist() for budget in (0, 1, 2, 4)] == [
        [0, 0],
        [1, 0],
        [2, 0],
        [3, 1],
    ]


def test_the_greedy_plan_is_the_best_one() -> None:
    given = situation([2, 5, 9], [0.4, 0.9, 0.2], [0.7, 1.0, 0.9], worth=0.5)
    most, budget = np.array([4, 6, 3]), 7
    sizes = given.counts.astype(float)

    def error(added: tuple[int, ...]) -> float:
        return float(given.curves.error(sizes + given.worth * np.array(added)).sum())

    every = [plan for plan in itertools.product(*(range(m + 1) for m in most)) if sum(plan) == budget]
    assert tuple(gain.spend(budget, given, most).tolist()) == min(every, key=error)


def test_an_added_image_counts_as_much_as_it_is_worth() -> None:
    # Four images that are worth a quarter each bring the first class from 1 to 2 images. Beside it, a class of 2.
    assert gain.spend(5, situation([1, 2], [1.0, 1.0], worth=0.25), np.array([99, 99])).tolist() == [5, 0]
    assert gain.spend(5, situation([1, 2], [1.0, 1.0], worth=1.0), np.array([99, 99])).tolist() == [3, 2]


def test_nothing_is_spent_where_nothing_is_expected() -> None:
    assert gain.spend(10, situation([5, 5], [0.0, 0.5]), np.array([99, 3])).tolist() == [0, 3]


def planned(budget: int | None, **changes: float) -> tuple[list[int], list[int]]:
    limits = Limits(**({"target": 1.0, "augment_share": 0.5, "max_augment": 2, "max_synthesize": 1} | changes))
    augment, synthesize = gain.plan(situation([12, 4, 2], [0.5] * 3), limits, gain.Params(budget=budget))
    return augment.tolist(), synthesize.tolist()


def test_the_budget_is_what_the_target_asks_for_unless_one_is_given() -> None:
    # Short of 12: 0, 8 and 10, of which 8 and 6 are allowed: 14 in all.
    assert sum(map(sum, planned(None))) == 14
    assert sum(map(sum, planned(5))) == 5
    assert planned(0) == ([0, 0, 0], [0, 0, 0])


def test_what_one_means_may_not_make_the_other_does() -> None:
    # The smallest class gets its 6 in any case: 2 may be synthesised, 4 augmented.
    augment, synthesize = planned(None)
    assert (augment[2], synthesize[2]) == (4, 2)
    augment, synthesize = planned(None, max_augment=0.5, max_synthesize=9)
    assert augment[2] == 1
    assert synthesize[2] > 5


@pytest.mark.parametrize("budget", [3, 30, 300])
def test_the_budget_is_never_exceeded(budget: int) -> None:
    given = situation([50, 20, 5, 1], [0.3, 0.4, 0.2, 0.5], worth=0.25)
    augment, synthesize = gain.plan(given, Limits(1.0, 0.5, 20, 20), gain.Params(budget=budget))
    assert (augment + synthesize).sum() == budget
