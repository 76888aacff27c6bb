"""What is usual for a new real image, by hand."""

import numpy as np
import pytest

from pipeline.gate._usual import ANY, BORROWED, Usual

ZEROS = np.zeros(19, np.int64)
LOGS = np.arange(1.0, 20)


def test_quantiles_of_one_class_by_hand() -> None:
    # 19 values e^1 ... e^19: a new one lies below the i-th with probability i / 20.
    usual = Usual(np.exp(LOGS), ZEROS)
    assert usual.quantile(0, 0.05) == pytest.approx(np.exp(1))
    assert usual.quantile(0, 0.5) == pytest.approx(np.exp(10))
    assert usual.quantile(0, 0.525) == pytest.approx(np.exp(10.5))
    assert usual.quantile(0, 0.95) == pytest.approx(np.exp(19))
    assert usual.quantile(0, 0.01) == pytest.approx(np.exp(1))
    assert usual.quantile(0, 0.99) == pytest.approx(np.exp(19))


def test_nothing_lies_below_the_smallest_share_or_above_the_largest() -> None:
    usual = Usual(np.exp(LOGS), ZEROS)
    assert (usual.quantile(0, 0), usual.quantile(0, 1)) == (0, np.inf)


def test_a_class_s_own_images_count_beside_those_of_all_classes_which_count_for_five() -> None:
    # Class 0: 5 images at e^1 and 5 at e^2, class 1: 5 at e^3; 2.5 are borrowed of each. To class 0 its own count for
    # 12.5 of 15, 1.25 each, and those of the other for 0.5 each: as 15^2 / (10 * 1.25^2 + 5 * 0.5^2) = 13.33 images.
    assert BORROWED == 5
    usual = Usual(np.exp(np.repeat([1.0, 2.0, 3.0], 5)), np.repeat([0, 0, 1], 5))
    last, first = (share / 15 * (40 / 3) / (43 / 3) for share in (12.5, 13.0))
    assert usual.quantile(0, last) == pytest.approx(np.e**2)
    assert usual.quantile(0, first) == pytest.approx(np.e**3)
    assert usual.quantile(0, (last + first) / 2) == pytest.approx(np.exp(2.5))


def test_to_a_class_without_images_all_classes_count_alike() -> None:
    # Counted by images, the median of 30, 3 and 3 would be the first class's.
    usual = Usual(np.exp(np.repeat([1.0, 2.0, 3.0], [30, 3, 3])), np.repeat([0, 1, 2], [30, 3, 3]))
    assert usual.quantile(ANY, 0.5) == pytest.approx(np.e**2)
    assert usual.quantile(ANY, 0.2) == pytest.approx(np.e)
    assert usual.quantile(ANY, 0.8) == pytest.approx(np.e**3)
    assert usual.quantile(0, 0.5) == pytest.approx(np.e)


def test_outliers_on_the_logarithm_are_left_out() -> None:
    # 1 ... 19: the quartiles lie at 5 and 15, so the fences at -25 and 45.
    for last, kept in ((44.9, 44.9), (45.1, 18.0)):
        values = np.exp(np.append(LOGS[:-1], last))
        assert Usual(values, ZEROS).quantile(0, 0.999) == pytest.approx(np.exp(kept))


def test_limits_and_shares_of_several_images_at_once() -> None:
    usual = Usual(np.exp(LOGS), ZEROS)
    assert usual.limits(np.array([0, 3, 0]), 0.5) == pytest.approx([np.exp(10)] * 3)
    shares = usual.share_below(0, np.array([0.0, np.exp(1), np.exp(10), np.exp(19), 1e30]))
    assert shares == pytest.approx([0, 0.05, 0.5, 0.95, 1])


def test_the_lesser_of_the_class_s_and_of_all() -> None:
    # The medians of the classes are e^1, e^2 and e^3 (see above), that of all alike e^2.
    usual = Usual(np.exp(np.repeat([1.0, 2.0, 3.0], [30, 30, 30])), np.repeat([0, 1, 2], [30, 30, 30]))
    assert usual.limits(np.array([0, 1, 2]), 0.5) == pytest.approx(np.exp([1, 2, 3]))
    assert usual.lesser(np.array([0, 1, 2]), 0.5) == pytest.approx(np.exp([1, 2, 2]))


def test_what_was_never_measured_is_no_limit() -> None:
    usual = Usual(np.array([np.nan, np.inf]), np.array([0, 1]))
    assert np.isnan(usual.quantile(0, 0.5))
    assert np.isnan(usual.limits(np.array([0, 1]), 0.0)).all()
    assert usual.share_below(0, np.array([1.0])).tolist() == [0]
    assert Usual(np.array([0.0, 2.0, np.nan]), np.array([0, 0, 0])).quantile(0, 0.99) == pytest.approx(2)


def test_new_real_images_pass_as_often_as_was_asked_for() -> None:
    """Distances are skewed, and those of poor classes larger; a band of 0.05 to 0.95 lets 0.9 of each through."""
    rng = np.random.default_rng(0)
    counts, scale = [60, 30, 12, 6, 3, 2], np.array([1.0, 1.2, 1.5, 2.0, 2.5, 3.0])
    passed = []
    for _ in range(60):
        labels = np.repeat(np.arange(6), counts)
        usual = Usual(scale[labels] * np.exp(0.6 * rng.normal(size=len(labels))), labels)
        new = np.repeat(np.arange(6), 50)
        values = scale[new] * np.exp(0.6 * rng.normal(size=300))
        inside = (values >= usual.limits(new, 0.05)) & (values <= usual.limits(new, 0.95))
        passed.append([inside[new == label].mean() for label in range(6)])
    shares = np.mean(passed, axis=0)
    assert shares.mean() == pytest.approx(0.9, abs=0.04)
    assert shares.min() > 0.82
