import numpy as np
import pytest

from pipeline.metrics.bias.significance import holm, permutation_p


def test_holm_by_hand() -> None:
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1: 0.03, 0.06, 0.04, of which the last may not be below the one before.
    assert holm(np.array([0.04, 0.01, 0.03])) == pytest.approx([0.06, 0.03, 0.06])
    assert holm(np.array([0.6, 0.7])).tolist() == [1.0, 1.0]
    assert holm(np.array([])).tolist() == []


def test_statistics_count_in_their_own_standard_deviations() -> None:
    # Means 0, standard deviations 1 and 10: the largest of each permutation is 1, -1, 1, -1.
    null = np.array([[1.0, 10.0], [-1.0, -10.0], [1.0, 10.0], [-1.0, -10.0]])
    # 2 is beyond all four: 1/5. 5 is half a deviation, which two reach: 3/5.
    assert permutation_p(np.array([2.0, 5.0]), null).tolist() == [0.2, 0.6]


def test_what_never_changes_is_no_finding() -> None:
    null = np.array([[1.0, 7.0], [-1.0, 7.0]])
    assert permutation_p(np.array([5.0, 7.0]), null).tolist() == [pytest.approx(1 / 3), 1.0]
    assert permutation_p(np.array([9.0]), np.full((3, 1), 7.0)).tolist() == [1.0]


def test_one_p_value_in_a_hundred_is_below_one_in_a_hundred_for_all_statistics_together() -> None:
    rng = np.random.default_rng(0)
    smallest = [permutation_p(draws[0], draws[1:]).min() for draws in rng.normal(size=(400, 100, 20))]
    assert np.mean(np.array(smallest) <= 0.05) == pytest.approx(0.05, abs=0.03)
