import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.metrics.bias.reference import (
    jensen_shannon,
    kullback_leibler,
    shares_of,
    shortages,
    total_variation,
)

NAMES = ("cat", "dog", "owl")


def test_divergences_by_hand() -> None:
    p, q = np.array([0.5, 0.5]), np.array([0.75, 0.25])
    assert total_variation(p, q) == 0.25
    # 1/2 log2(2/3) + 1/2 log2(2) bits
    assert kullback_leibler(p, q) == pytest.approx(0.5 * np.log2(2 / 3) + 0.5)
    assert kullback_leibler(p, p) == 0.0
    assert jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0])) == 1.0
    assert jensen_shannon(p, q) == pytest.approx(jensen_shannon(q, p))


def test_a_class_that_reality_lacks_is_infinitely_far_by_one_measure_only() -> None:
    p, q = np.array([0.5, 0.5]), np.array([1.0, 0.0])
    assert kullback_leibler(p, q) == np.inf
    assert kullback_leibler(q, p) == 1.0
    # middle 3/4, 1/4: half of 1/2 log2(2/3) + 1/2 log2(2), and half of log2(4/3)
    assert jensen_shannon(p, q) == pytest.approx((0.5 * np.log2(2 / 3) + 0.5 + np.log2(4 / 3)) / 2)


def test_shortages_by_hand() -> None:
    lacking, p = shortages(np.array([8, 2]), np.array([0.5, 0.5]))
    assert lacking.tolist() == [0.0, pytest.approx(0.6)]
    # Two or fewer of ten fair tosses: (1 + 10 + 45) / 1024, times 2 tests; eight or fewer: all but 11 / 1024.
    assert p == pytest.approx([1 - 11 / 1024, 2 * 56 / 1024])


def test_a_class_that_is_not_due_is_never_short() -> None:
    lacking, p = shortages(np.array([10, 0]), np.array([1.0, 0.0]))
    assert lacking.tolist() == [0.0, 0.0]
    assert p.tolist() == [1.0, 1.0]


def test_a_tiny_difference_in_many_images_and_a_large_one_in_few_are_told_apart() -> None:
    lacking, p = shortages(np.array([50_500, 49_500]), np.array([0.5, 0.5]))
    assert (lacking[1], p[1] < 0.01) == (pytest.approx(0.01), True)  # significant, and too small to be told
    lacking, p = shortages(np.array([3, 1]), np.array([0.5, 0.5]))
    assert (lacking[1], p[1] > 0.01) == (0.5, True)  # large, and easily chance


def test_shares_are_normalised_and_ordered() -> None:
    assert shares_of({"owl": 1, "cat": 6, "dog": 1}, NAMES, "x") == pytest.approx([0.75, 0.125, 0.125])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cat": 1, "dgo": 1, "owl": 1}, "x: unknown class 'dgo'; did you mean 'dog'? Known: cat, dog, owl"),
        ({"cat": 1}, "x: says nothing of 'dog', 'owl'; give every class a share, 0 or more"),
        ({"cat": 0, "dog": 0, "owl": 0}, "x: at least one share must be above 0, got {'cat': 0, 'dog': 0, 'owl': 0}"),
    ],
)
def test_wrong_shares_are_one_line(given: dict[str, float], message: str) -> None:
    with pytest.raises(UserError) as caught:
        shares_of(given, NAMES, "x")
    assert str(caught.value) == message
