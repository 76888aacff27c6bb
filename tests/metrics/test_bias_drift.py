import numpy as np
import numpy.typing as npt
import pytest

from pipeline.metrics.bias import drift

Bools = npt.NDArray[np.bool_]


def test_kolmogorov_smirnov_by_hand() -> None:
    # After 2 the one function is at 1/2, the other at 0.
    distance, p = drift.kolmogorov_smirnov(np.array([1.0, 2, 3, 4]), np.array([3.0, 4, 5, 6]))
    assert distance == 0.5
    assert p > 0.3
    assert drift.kolmogorov_smirnov(np.arange(50.0), np.arange(50.0) + 100)[0] == 1.0


def test_population_stability_by_hand() -> None:
    before = np.arange(1.0, 11)  # one value in each of ten bins
    assert drift.population_stability(before, before) == 0.0
    # All of the new ones in the last bin: (1 - 1/10) ln 10, and nine times (1e-4 - 1/10) ln 1e-3.
    expected = 0.9 * np.log(10) + 9 * (1e-4 - 0.1) * np.log(1e-3)
    assert drift.population_stability(before, np.full(7, 10.0)) == pytest.approx(expected)


def test_values_are_centred_on_what_their_class_was() -> None:
    values, labels = np.array([1.0, 3, 5, 9, 20, 30]), np.array([0, 0, 0, 0, 1, 1])
    is_new = np.array([False, False, False, True, False, True])
    centred = drift.centred(values, labels, is_new, min_images=2)
    assert centred[:4].tolist() == [-2.0, 0.0, 2.0, 6.0]
    assert np.isnan(centred[4:]).all()  # one old image says too little


def batches(seed: int, shift: float = 0.0, mix: float = 0.5) -> drift.Shift:
    """600 old images, half of each of two unlike classes; 200 new ones, a share of `mix` of the first."""
    rng = np.random.default_rng(seed)
    is_new = np.repeat([False, True], [600, 200])
    labels = (rng.random(800) > np.where(is_new, mix, 0.5)).astype(np.int64)
    values = rng.normal(size=800) + 3.0 * labels + shift * is_new
    found = drift.shift(values, labels, is_new, min_images=10)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(5))
def test_a_shift_is_found_and_none_is_not(seed: int) -> None:
    moved, still = batches(seed, shift=0.8), batches(seed)
    assert moved.distance > 0.2
    assert moved.stability > 0.2
    assert moved.p < 1e-6
    assert still.distance < 0.13
    assert still.p > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_other_classes_are_no_shift_of_the_property(seed: int) -> None:
    found = batches(seed, mix=0.9)
    assert found.before - found.after > 0.5  # the medians differ, but only by what there is of each class
    assert found.p > 0.01


def test_too_few_images_are_not_compared() -> None:
    is_new = np.repeat([False, True], [50, 5])
    assert drift.shift(np.arange(55.0), np.zeros(55, dtype=np.int64), is_new, min_images=10) is None


def test_share_changes_by_hand() -> None:
    found = drift.share_change(np.array([60, 40]), np.array([10, 90]), 99, seed=0)
    assert found.distance == pytest.approx(0.5)
    assert found.change == pytest.approx([-0.5, 0.5])
    assert (found.p, found.class_p.tolist()) == (0.01, [0.01, 0.01])


@pytest.mark.parametrize("seed", range(5))
def test_a_random_draw_is_no_change_of_shares(seed: int) -> None:
    rng = np.random.default_rng(seed)
    share = np.array([0.6, 0.3, 0.08, 0.02])
    found = drift.share_change(rng.multinomial(2000, share), rng.multinomial(100, share), 199, seed)
    assert found.p > 0.01
    assert found.class_p.min() > 0.01


def test_the_test_of_shares_is_exact() -> None:
    # Two of six images are new. Both are 0s in 6 of 15 draws (distance 1/2), both 1s in 1 (distance 1), else 1/4.
    found = drift.share_change(np.array([2, 2]), np.array([2, 0]), 4000, seed=0)
    assert (found.distance, found.p) == (0.5, pytest.approx(7 / 15, abs=0.03))
    # One of the two images is new: it is a 0 or a 1 with equal chance, and either is as far from the old one.
    found = drift.share_change(np.array([1, 0]), np.array([0, 1]), 400, seed=0)
    assert (found.distance, found.p) == (1.0, 1.0)
