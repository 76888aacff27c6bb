"""McNemar's test and the parts of the error against hand-made figures and simulated truth."""

import numpy as np
import pytest

from pipeline.metrics import comparison as cmp
from pipeline.metrics.bootstrap import bootstrap


def test_mcnemar_by_hand() -> None:
    labels = np.zeros(40, dtype=np.int64)
    new, old = np.ones((2, 40), dtype=np.int64)
    new[:22], old[10:24] = 0, 0  # 10 right by the new one alone, 2 by the old one alone
    found = cmp.mcnemar(labels, new, old)
    assert (found.only_new, found.only_old) == (10, 2)
    assert found.p_value == pytest.approx(2 * (1 + 12 + 66) / 4096)  # of 12 tosses at most 2, or at least 10
    assert cmp.mcnemar(labels, old, new).p_value == pytest.approx(found.p_value)
    assert cmp.mcnemar(labels, new, new) == cmp.Discordant(0, 0, 1.0)


def test_mcnemar_rejects_equal_classifiers_as_often_as_it_may() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(300, dtype=np.int64)
    rejected = 0
    for _ in range(300):
        new, old = (rng.random((2, 300)) < 0.3).astype(np.int64)
        rejected += cmp.mcnemar(labels, new, old).p_value <= 0.05
    assert rejected <= 25  # the exact test keeps below 5 %: 15 expected at most, 26 have a probability of 0.4 %


def test_the_vote_is_the_class_of_the_largest_mean_probability() -> None:
    probs = np.array([[[0.5, 0.3, 0.2]], [[0.1, 0.3, 0.6]], [[0.1, 0.6, 0.3]]])
    assert cmp.vote(probs).tolist() == [1]  # means 0.7, 1.2, 1.1, though each class has one seed's first place


def test_error_of_seeds_and_images_that_add_up_is_told_apart_exactly() -> None:
    seeds, images = np.array([0.0, 1.0, 5.0]), np.array([2.0, 4.0, 9.0, 1.0])
    parts = cmp.error_parts(np.zeros(4, dtype=np.int64), seeds[:, None] + images)
    assert parts.seeds == pytest.approx(seeds.var(ddof=1) / 3)
    assert parts.images == pytest.approx(images.var(ddof=1) / 4)
    assert parts.both == pytest.approx(0)


def test_each_class_has_the_same_say_in_the_error() -> None:
    labels = np.array([0, 0, 1, 1, 1])
    values = np.tile([1.0, 3.0, 5.0, 5.0, 8.0], (2, 1))  # variances 2 and 3, over 2 and 3 images
    parts = cmp.error_parts(labels, values)
    assert parts.images == pytest.approx((2 / 2 + 3 / 3) / 4)
    assert (parts.seeds, parts.both) == (0, pytest.approx(0))


def test_the_parts_are_those_that_made_the_values() -> None:
    rng = np.random.default_rng(0)
    found, labels = [], np.repeat([0, 1], [40, 20])
    for _ in range(300):
        noise = rng.normal(0, 2, (6, 60))
        found.append(cmp.error_parts(labels, rng.normal(0, 0.5, (6, 1)) + rng.normal(0, 1, 60) + noise))
    assert np.mean([part.seeds for part in found]) == pytest.approx(0.25 / 6, rel=0.1)
    assert np.mean([part.images for part in found]) == pytest.approx((1 / 40 + 1 / 20) / 4, rel=0.2)
    assert np.mean([part.both for part in found]) == pytest.approx((1 / 40 + 1 / 20) * 4 / 6 / 4, rel=0.05)


def test_the_whole_is_about_the_bootstraps_variance() -> None:
    rng = np.random.default_rng(1)
    labels = np.repeat([0, 1, 2], 60)
    hard, lucky = rng.normal(0, 1, 180), rng.normal(0, 0.3, (12, 1))
    right = {arm: hard + lucky * sign + rng.normal(0, 1, (12, 180)) > -0.5 for arm, sign in (("a", 1), ("b", -1))}
    found = bootstrap(labels, {arm: np.where(r, labels, 3) for arm, r in right.items()}, num_resamples=3000, seed=0)
    parts = cmp.error_parts(labels, right["a"].astype(np.float64) - right["b"])
    # the pigeonhole bootstrap counts the part of both three times (Owen 2007, theorem 3)
    assert found.gain("a", "b").var() == pytest.approx(parts.total + 2 * parts.both, rel=0.15)


def test_one_seed_shows_the_error_of_images_alone() -> None:
    labels = np.zeros(4, dtype=np.int64)
    parts = cmp.error_parts(labels, np.array([[0.0, 1.0, 1.0, 0.0]]))
    assert (parts.seeds, parts.both) == (0, 0)
    assert parts.total == pytest.approx(1 / 3 / 4)
