import numpy as np
import numpy.typing as npt
import pytest

from pipeline.metrics.bias import learning_curve as curve
from pipeline.metrics.bias.learning_curve import Curves, Points

Ints = npt.NDArray[np.int64]


def test_errors_by_hand() -> None:
    curves = Curves(np.array([0.8, 2.0]), np.array([0.5, 1.0]))
    assert curves.error(np.array([4.0, 10.0])) == pytest.approx([0.4, 0.2])
    assert curves.error(np.array([16.0, 1.0])) == pytest.approx([0.2, 1.0])  # no more than all are mistaken
    assert curves.error(np.array([0.0, 0.0])).tolist() == [1.0, 1.0]
    assert curves.error(np.array([[1.0, 4.0], [4.0, 8.0]])) == pytest.approx(np.array([[0.8, 0.4], [0.5, 0.25]]))


def points(scale: list[float], exponent: list[float], images: list[int]) -> Points:
    """Errors that follow power laws exactly."""
    sizes = np.array(images)[:, None] * np.array([0.125, 0.25, 0.5, 1.0])
    return Points(sizes, np.array(scale)[:, None] * sizes ** -np.array(exponent)[:, None], np.array(images))


def test_power_laws_are_recovered() -> None:
    found = curve.fit(points([0.9, 1.5, 0.6], [0.3, 0.35, 0.25], [4000, 2000, 3000]))
    assert found.exponent == pytest.approx([0.3, 0.35, 0.25], abs=0.02)
    assert found.error(np.array([8000.0, 8000, 8000])) == pytest.approx(
        [0.9 * 8000**-0.3, 1.5 * 8000**-0.35, 0.6 * 8000**-0.25], rel=0.05
    )


def test_a_class_with_few_images_is_drawn_towards_the_others() -> None:
    known = points([0.9, 0.9, 0.9], [0.3, 0.3, 0.3], [800, 800, 4])
    errors = known.errors.copy()
    errors[2] = 0.0  # four images, none mistaken: luck, not mastery
    found = curve.fit(Points(known.sizes, errors, known.images))
    assert 0.2 < found.error(np.array([4.0, 4.0, 4.0]))[2] < 0.9 * 4**-0.3
    assert found.exponent[2] == pytest.approx(0.3, abs=0.05)
    many = curve.fit(Points(known.sizes * [[1], [1], [200]], errors, np.array([800, 800, 800])))
    assert many.error(np.array([800.0, 800, 800]))[2] < 0.01


def test_a_class_that_was_not_measured_has_the_common_curve() -> None:
    known = points([0.8, 0.8, 1.0], [0.4, 0.4, 0.0], [500, 500, 1])
    sizes, errors = known.sizes.copy(), known.errors.copy()
    sizes[2], errors[2] = 0.0, 1.0
    found = curve.fit(Points(sizes, errors, known.images))
    assert (found.scale[2], found.exponent[2]) == (pytest.approx(0.8, abs=0.02), pytest.approx(0.4, abs=0.02))
    nothing = curve.fit(Points(np.zeros((2, 4)), np.full((2, 4), np.nan), np.array([0, 0])))
    assert nothing.error(np.array([10.0, 10.0])).tolist() == [1.0, 1.0]


def test_errors_that_grow_promise_nothing() -> None:
    sizes = np.array([[10.0, 20, 40, 80]] * 2)
    found = curve.fit(Points(sizes, np.array([[0.2, 0.25, 0.3, 0.35]] * 2), np.array([80, 80])))
    assert found.exponent.tolist() == [0.0, 0.0]


def repeats(labels: Ints) -> list[Ints]:
    return [np.random.default_rng(seed).permutation(len(labels)) % 4 for seed in range(2)]


def test_subsamples_are_nested_shares_of_what_is_not_left_out() -> None:
    labels = np.repeat([0, 1, 2], [64, 16, 1])
    folds = np.concatenate([np.arange(64) % 4, np.arange(16) % 4, [0]])
    x = np.random.default_rng(0).normal(size=(81, 3))
    found = curve.measure(x, labels, 3, [folds], seed=0)
    assert found.images.tolist() == [64, 16, 1]
    assert found.sizes[0].tolist() == [6.0, 12.0, 24.0, 48.0]
    assert found.sizes[1].tolist() == [2.0, 3.0, 6.0, 12.0]  # an eighth of 12 is rounded to the even 2
    assert found.sizes[2].tolist() == [0.75] * 4  # in three of the four folds' others
    assert found.errors[2].tolist() == [1.0] * 4  # its only image is never among those trained on when it is judged


def test_nested_ranks_count_within_a_class() -> None:
    order, ranks, totals = curve._nested(np.array([0, 1, 0, 0, 1]), np.array([4, 2, 0, 1]), 3)
    assert (order.tolist(), ranks.tolist(), totals.tolist()) == ([4, 2, 0, 1], [0, 0, 1, 1], [2, 2, 0])


def test_what_is_told_apart_at_once_has_no_errors_and_what_is_noise_keeps_them() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 60)
    x = rng.normal(size=(180, 4)) + 30.0 * (labels == 0)[:, None]
    found = curve.measure(x, labels, 3, repeats(labels), seed=0)
    assert found.errors[0].tolist() == [0.0] * 4
    assert found.errors[1:] == pytest.approx(0.5, abs=0.2)


def test_more_images_are_expected_to_help_most_where_they_are_few() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2, 3], [200, 60, 20, 8])
    x = rng.normal(size=(288, 30)) + 1.1 * np.eye(4, 30)[labels] * 3
    curves = curve.fit(curve.measure(x, labels, 4, repeats(labels), seed=0))
    sizes = np.array([200.0, 60, 20, 8])
    gain = curves.error(sizes) - curves.error(sizes + 1)
    assert (np.diff(gain) > 0).all()
