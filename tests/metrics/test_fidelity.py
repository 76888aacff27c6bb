"""Figures of likeness by hand, in closed form, and against scipy and scikit-learn."""

import numpy as np
import pytest
import scipy.linalg
from scipy.stats import ortho_group
from sklearn.covariance import ledoit_wolf

from pipeline.metrics.fidelity import frechet, kernel, vendi
from pipeline.metrics.fidelity.estimate import fidelity
from pipeline.metrics.fidelity.neighbours import K_DENSITY, K_PRECISION, manifold

Floats = np.ndarray


def unit(features: Floats) -> Floats:
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def column(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)[:, None]


# ------------------------------------------------------------ Fréchet distance


def test_frechet_distance_of_gaussians_in_one_dimension_by_hand() -> None:
    # (1 - 4)^2 + (2 - 5)^2 of standard deviations 2 and 5
    found = frechet.distance(np.array([1.0]), np.array([[4.0]]), np.array([4.0]), np.array([[25.0]]))
    assert found == pytest.approx(18)


def test_frechet_distance_of_commuting_covariances_is_that_of_their_axes() -> None:
    turn = ortho_group.rvs(3, random_state=0)
    one, other = (turn @ np.diag(values) @ turn.T for values in ([1.0, 4, 9], [4.0, 4, 1]))
    assert frechet.distance(np.zeros(3), one, np.zeros(3), other) == pytest.approx(1 + 0 + 4)


@pytest.mark.parametrize("rank", [3, 8])
def test_frechet_distance_is_that_of_scipy_s_matrix_root(rank: int) -> None:
    rng = np.random.default_rng(rank)
    factors = rng.normal(size=(2, 8, rank))
    one, other = (factor @ factor.T for factor in factors)
    means = rng.normal(size=(2, 8))
    jitter = 1e-9 * np.eye(8)  # scipy's root needs it where the product is singular
    root = scipy.linalg.sqrtm((one + jitter) @ (other + jitter)).real
    expected = ((means[0] - means[1]) ** 2).sum() + np.trace(one + other - 2 * root)
    assert frechet.distance(means[0], one, means[1], other) == pytest.approx(expected, rel=1e-3)


def test_frechet_distance_of_equal_gaussians_is_zero() -> None:
    factor = np.random.default_rng(0).normal(size=(6, 6))
    covariance = factor @ factor.T
    assert frechet.distance(np.ones(6), covariance, np.ones(6), covariance) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("shape", [(2, 5), (10, 64), (300, 8), (50, 1)])
def test_the_covariance_is_that_of_scikit_learn_s_ledoit_and_wolf(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 3, shape[1])
    assert frechet.moments(features)[1] == pytest.approx(ledoit_wolf(features)[0])
    assert frechet.moments(np.ones(shape))[1] == pytest.approx(np.zeros((shape[1], shape[1])))


def test_the_covariance_of_few_samples_is_shrunk_to_a_multiple_of_the_identity() -> None:
    samples = np.random.default_rng(0).normal(size=(10, 64))
    mean, covariance = frechet.moments(samples)
    plain = np.cov(samples.T, bias=True)
    assert mean == pytest.approx(samples.mean(0))
    assert np.trace(covariance) == pytest.approx(np.trace(plain))
    assert np.linalg.eigvalsh(covariance).min() > 0.5  # of the plain one 0
    assert np.linalg.norm(covariance - np.eye(64)) < 0.3 * np.linalg.norm(plain - np.eye(64))


def test_the_covariance_of_many_samples_is_left_as_it_is() -> None:
    samples = np.random.default_rng(0).normal(size=(4000, 3)) * [1, 2, 3]
    assert frechet.moments(samples)[1] == pytest.approx(np.cov(samples.T, bias=True), abs=0.05)


def test_one_sample_has_no_covariance() -> None:
    with pytest.raises(ValueError, match=r"^a covariance takes two samples or more, got 1$"):
        frechet.moments(np.ones((1, 4)))


# ------------------------------------------------------------ kernel distance


def test_kernel_distance_by_hand() -> None:
    # One feature: k(x, y) = (x y + 1)^3. Real 0, 1, synthetic 1, 2: within 1 and 27; between 1, 1, 8, 27.
    given = kernel.kernels(column(0, 1), column(1, 2))
    assert kernel.distance(given) == pytest.approx([1 + 27 - 2 * (1 + 1 + 8 + 27) / 4])


def test_features_are_divided_by_their_number() -> None:
    one = kernel.kernels(np.array([[2.0, 2.0]]), np.array([[1.0, 3.0]]))
    assert one.mixed == pytest.approx(np.array([[(8 / 2 + 1) ** 3]]))
    assert one.real == pytest.approx(np.zeros((1, 1)))


def test_kernel_distance_of_one_distribution_is_zero_on_average_however_few_images() -> None:
    rng = np.random.default_rng(0)
    found = [kernel.distance(kernel.kernels(*rng.normal(size=(2, 4, 8))))[0] for _ in range(3000)]
    assert np.mean(found) == pytest.approx(0, abs=3 * np.std(found) / np.sqrt(3000))
    assert min(found) < 0


def test_an_image_drawn_twice_makes_no_pair_with_itself() -> None:
    given = kernel.kernels(column(0, 1, 5), column(1, 2, 3))
    counts, once = np.array([[2.0, 1.0, 0.0]]), np.ones((1, 3))
    # Real 0, 0, 1: of its six ordered pairs the two of the same image are left out; the others are 0 with 1: k = 1.
    between = [1, 1, 1, 1, 1, 1, 8, 27, 64]
    within = 2 * ((2 + 1) ** 3 + (3 + 1) ** 3 + (6 + 1) ** 3) / 6
    assert kernel.distance(given, counts, once) == pytest.approx([1 + within - 2 * sum(between) / 9])
    assert np.isnan(kernel.distance(given, np.array([[3.0, 0, 0]]), once)).all()


# ------------------------------------------------------------ neighbours


def test_precision_and_recall_by_hand() -> None:
    # Third neighbours of 0, 1, 2, 3: at 3, 2, 2, 3; so real images reach from -3 to 6. Of 10, 11, 12, 20: 10, 9, 8, 10.
    found = manifold(column(0, 1, 2, 3), column(5, 7, 11, 13))
    # Reach of 5, 7, 11, 13: 8, 6, 6, 8: they cover -3 to 21.
    assert K_PRECISION == 3
    assert (found.precision, found.recall) == (1 / 4, 1.0)
    far = manifold(column(0, 1, 2, 3), column(30, 31, 32, 33))
    assert (far.precision, far.recall, far.authenticity) == (0, 0, 1)


def test_density_and_coverage_by_hand() -> None:
    # Fifth neighbours of 0 ... 5: at 5, 4, 3, 3, 4, 5. Synthetic 0 lies within reach of all six, 9 within that of 5
    # alone (4 <= 5), 20 within none.
    found = manifold(column(0, 1, 2, 3, 4, 5), column(0, 9, 20))
    assert K_DENSITY == 5
    assert found.density == pytest.approx((6 + 1 + 0) / 5 / 3)
    assert found.coverage == 1.0
    assert manifold(column(0, 1, 2, 3, 4, 5), column(9, 20)).coverage == 1 / 6


def test_authenticity_by_hand() -> None:
    # Nearest real ones of 0, 1, 5: at 1, 1, 4. 0.2 lies nearer to 0 than 1 does; 3 to 1, at 2; 9.5 to 5, at 4.5.
    assert manifold(column(0, 1, 5), column(0.2, 3, 9.5)).authenticity == pytest.approx(2 / 3)
    assert manifold(column(0, 1, 5), column(9)).authenticity == 0  # as far from 5 as 1 is
    copies = np.random.default_rng(0).normal(size=(20, 4))
    assert manifold(copies, copies).authenticity == 0


def test_too_few_images_are_nan_for_each_measure_alone() -> None:
    found = manifold(column(0, 1, 2, 3), column(0.5, 1.5))
    assert found.precision == 1
    assert np.isnan([found.recall, found.density, found.coverage]).all()
    assert found.authenticity == 0
    assert np.isnan(manifold(np.empty((0, 2)), np.ones((3, 2)))).all()
    assert np.isnan(manifold(np.ones((3, 2)), np.empty((0, 2)))).all()
    assert np.isnan(manifold(column(0), column(1, 2, 3, 4)).authenticity)


def test_collapse_shows_in_recall_and_coverage_and_noise_in_precision_and_density() -> None:
    rng = np.random.default_rng(0)
    real = rng.normal(size=(200, 4))
    like = manifold(real, rng.normal(size=(200, 4)))
    collapsed = manifold(real, 0.01 * rng.normal(size=(200, 4)))
    noise = manifold(real, 6 * rng.normal(size=(200, 4)))
    assert min(like.precision, like.recall, like.coverage) > 0.7
    assert like.density == pytest.approx(1, abs=0.25)
    assert collapsed.precision > 0.9
    assert max(collapsed.recall, collapsed.coverage) < 0.2
    assert max(noise.precision, noise.density) < 0.2


# ------------------------------------------------------------ Vendi score


def test_vendi_score_counts_different_images() -> None:
    assert vendi.score(np.eye(5)) == pytest.approx(5)
    assert vendi.score(np.ones((7, 1))) == pytest.approx(1)
    assert vendi.score(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3)
    assert np.isnan(vendi.score(np.empty((0, 3))))


def test_vendi_score_by_hand() -> None:
    # Cosine 0.5: the eigenvalues of K / 2 are 3/4 and 1/4.
    features = np.array([[1.0, 0.0], [0.5, np.sqrt(0.75)]])
    expected = np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25)))
    assert vendi.score(features) == pytest.approx(expected)
    assert vendi.score(np.repeat(features, 3, axis=0)) == pytest.approx(expected)  # more images than features


# ------------------------------------------------------------ a class's figures


def samples(rng: np.random.Generator, count: int, shift: float = 0.0, spread: float = 0.5) -> Floats:
    features = spread * rng.normal(size=(count, 16))
    features[:, 0] += 3 + shift
    return unit(features)


def test_each_classifier_counts_by_its_real_images_and_those_with_fewer_than_two_not() -> None:
    rng = np.random.default_rng(0)
    synthetic = [samples(rng, 20) for _ in range(3)]
    real = [samples(rng, 6), samples(rng, 2), samples(rng, 1)]
    found = fidelity(real, synthetic, num_resamples=10, seed=0)
    each = [kernel.distance(kernel.kernels(one, other))[0] for one, other in zip(real, synthetic, strict=True)]
    assert found.kernel[0] == pytest.approx((6 * each[0] + 2 * each[1]) / 8)
    assert found.manifold.density == pytest.approx(manifold(real[0], synthetic[0]).density)  # the second has too few
    assert (found.real, found.synthetic) == (9, 20)
    assert found.vendi == pytest.approx(np.mean([vendi.score(features) for features in synthetic]))
    ratios = [vendi.score(other[: len(one)]) / vendi.score(one) for one, other in zip(real, synthetic, strict=True)]
    assert found.relative_vendi == pytest.approx((6 * ratios[0] + 2 * ratios[1]) / 8)


@pytest.mark.parametrize(("real", "synthetic"), [([1, 1], 5), ([0, 0], 5), ([4, 4], 1), ([4, 4], 0)])
def test_too_few_images_give_no_figure_and_no_failure(real: list[int], synthetic: int) -> None:
    rng = np.random.default_rng(0)
    found = fidelity([samples(rng, n) for n in real], [samples(rng, synthetic)] * 2, num_resamples=10, seed=0)
    assert np.isnan([*found.frechet, *found.kernel, *found.manifold, found.relative_vendi]).all()
    assert found.synthetic == synthetic


def test_intervals_hold_the_truth_where_images_are_few() -> None:
    """Ten left-out images for each of four classifiers, a hundred synthetic ones, over and over."""
    rng = np.random.default_rng(0)
    for shift in (0.0, 1.0):
        large = samples(rng, 20000), samples(rng, 20000, shift)
        true_frechet = frechet.distance(*frechet.moments(large[0]), *frechet.moments(large[1]))
        true_kernel = kernel.distance(kernel.kernels(large[0][:3000], large[1][:3000]))[0]
        held = []
        for seed in range(8):
            real = [samples(rng, 10) for _ in range(4)]
            found = fidelity(real, [samples(rng, 100, shift)] * 4, num_resamples=20, seed=seed)
            for (_, low, high), truth in ((found.frechet, true_frechet), (found.kernel, true_kernel)):
                held.append(low <= truth + 1e-4 and truth <= high)
        assert np.mean(held) >= 0.85


@pytest.mark.parametrize(("real", "synthetic"), [(6, 5), (20, 8), (3, 100)])
def test_frechet_distance_of_one_distribution_is_zero_on_average_however_few_images(real: int, synthetic: int) -> None:
    rng = np.random.default_rng(0)
    found = [
        fidelity([samples(rng, real)], [samples(rng, synthetic)], num_resamples=10, seed=seed).frechet[0]
        for seed in range(200)
    ]
    assert np.mean(found) == pytest.approx(0, abs=4 * np.std(found) / np.sqrt(200))


def test_equal_seeds_give_equal_figures_and_others_other_intervals() -> None:
    rng = np.random.default_rng(0)
    given = [samples(rng, 8)], [samples(rng, 12)]
    one, again, other = (fidelity(*given, num_resamples=20, seed=seed) for seed in (1, 1, 2))
    assert one == again
    assert one.kernel[0] == other.kernel[0]
    assert one.kernel[1:] != other.kernel[1:]


def test_worse_images_are_told_from_good_ones() -> None:
    rng = np.random.default_rng(0)
    real = [samples(rng, 30) for _ in range(3)]
    good = fidelity(real, [samples(rng, 60)] * 3, num_resamples=20, seed=0)
    shifted = fidelity(real, [samples(rng, 60, shift=-2)] * 3, num_resamples=20, seed=0)
    collapsed = fidelity(real, [samples(rng, 60, spread=0.01)] * 3, num_resamples=20, seed=0)
    assert good.frechet[1] <= 0.002
    assert good.frechet[0] < 0.01 < shifted.frechet[1]
    assert good.kernel[0] < shifted.kernel[1]
    assert good.relative_vendi == pytest.approx(1, abs=0.2)
    assert collapsed.relative_vendi < 0.8
