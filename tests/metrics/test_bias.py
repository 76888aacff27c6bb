"""Measures of imbalance against values worked out by hand."""

import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.metrics import bias


def test_imbalance_ratio() -> None:
    assert bias.imbalance_ratio(np.array([100, 20, 5])) == 20.0
    assert bias.imbalance_ratio(np.array([7, 7])) == 1.0
    assert bias.imbalance_ratio(np.array([3, 0])) == np.inf


def test_entropy() -> None:
    assert bias.entropy(np.array([5, 5, 5, 5])) == pytest.approx(1.0)
    assert bias.entropy(np.array([9, 0, 0])) == 0.0
    # shares 1/2, 1/4, 1/4: 1.5 bits of log2(3); the empty class still counts in the denominator of the second
    assert bias.entropy(np.array([2, 1, 1])) == pytest.approx(1.5 / np.log2(3))
    assert bias.entropy(np.array([2, 1, 1, 0])) == pytest.approx(0.75)
    assert bias.entropy(np.array([4])) == 1.0


def test_gini() -> None:
    assert bias.gini(np.array([3, 3, 3])) == 0.0
    assert bias.gini(np.array([0, 0, 0, 4])) == pytest.approx(3 / 4)
    # all ordered pairs differ by 2 * (1 + 2 + 1) = 8; over 2 * 3**2 * mean 2
    assert bias.gini(np.array([3, 1, 2])) == pytest.approx(8 / 36)


def test_effective_number() -> None:
    # beta 1/2: 1, 1 + 1/2, 1 + 1/2 + 1/4
    assert bias.effective_number(np.array([0, 1, 2, 3]), 0.5).tolist() == [0.0, 1.0, 1.5, 1.75]
    assert bias.effective_number(np.array([1, 50]), 0.0).tolist() == [1.0, 1.0]
    assert bias.effective_number(np.array([40]), 1 - 1e-9)[0] == pytest.approx(40, rel=1e-5)


def test_effective_number_names_a_bad_beta() -> None:
    with pytest.raises(UserError, match=r"beta must be in \[0, 1\), got 1.0"):
        bias.effective_number(np.array([1]), 1.0)


def test_groups_at_their_bounds() -> None:
    found = bias.groups(np.array([101, 100, 21, 20, 0]), many_above=100, few_up_to=20)
    assert {name: indices.tolist() for name, indices in found.items()} == {"many": [0], "medium": [1, 2], "few": [3, 4]}


def test_groups_refuses_crossed_bounds() -> None:
    with pytest.raises(UserError, match=r"few_up_to must be at most many_above \(20\), got 100"):
        bias.groups(np.array([1]), many_above=20, few_up_to=100)


def test_counts_without_an_image_are_refused() -> None:
    with pytest.raises(AssertionError, match="at least one image"):
        bias.gini(np.array([0, 0]))
