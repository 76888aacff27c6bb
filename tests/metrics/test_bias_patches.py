import numpy as np
import numpy.typing as npt
import pytest

from pipeline.metrics.bias.patches import Filters, learn


def single(offset: float, weights: list[float] | None = None) -> Filters:
    """One filter over patches of 2 x 2 grey pixels."""
    column = np.array(weights or [0.0] * 4, dtype=np.float32)[:, None]
    return Filters(column, np.array([offset], dtype=np.float32), side=2, stride=1)


def test_what_exceeds_the_threshold_on_either_side_by_hand() -> None:
    plain = np.full((1, 5, 5, 1), 80, dtype=np.uint8)
    # Response 1 everywhere: 0.75 above the threshold in all four quarters, nothing below.
    assert single(-1.0).features(plain)[0].tolist() == [0.75] * 4 + [0.0] * 4
    assert single(1.0).features(plain)[0].tolist() == [0.0] * 4 + [0.75] * 4
    assert single(0.2).features(plain)[0].tolist() == [0.0] * 8


def test_quarters_are_pooled_apart() -> None:
    image = np.zeros((1, 5, 5, 1), dtype=np.uint8)
    image[0, 0, 4] = 255
    features = single(0.0, [0.0, 1.0, 0.0, 0.0]).features(image)[0]
    # Of the four patches of the second quarter one has the bright pixel, at its second place. Normalised that is
    # (255 - 63.75) / sqrt(variance + 10), variance 255^2 * 3 / 16.
    response = 191.25 / np.sqrt(255**2 * 3 / 16 + 10)
    assert features[:4] == pytest.approx([0, (response - 0.25) / 4, 0, 0], rel=1e-5)


@pytest.mark.parametrize("shape", [(4, 4, 1), (8, 8, 1), (12, 9, 3), (32, 32, 3)])
def test_filters_suit_images_of_any_size(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).integers(0, 256, (120, *shape), dtype=np.uint8)
    filters = learn(images, 16, seed=3)
    features = filters.features(images)
    assert features.shape == (120, 8 * 16)
    assert np.isfinite(features).all()
    again = learn(images, 16, seed=3)
    np.testing.assert_array_equal(filters.weights, again.weights)
    np.testing.assert_array_equal(features[7:9], again.features(images[7:9]))
    assert not np.array_equal(filters.weights, learn(images, 16, seed=4).weights)


def test_equal_images_say_nothing_and_break_nothing() -> None:
    images = np.full((3, 8, 8, 1), 7, dtype=np.uint8)
    features = learn(images, 8, seed=0).features(images)
    assert np.isfinite(features).all()
    assert np.ptp(features, axis=0).max() == 0


def stripes(upright: npt.NDArray[np.bool_], seed: int = 0) -> npt.NDArray[np.uint8]:
    """Faint stripes at any phase, uint8 [N, 16, 16, 1]."""
    rng = np.random.default_rng(seed)
    images = rng.integers(90, 130, (len(upright), 16, 16, 1), dtype=np.uint8)
    for image, along in zip(images, upright, strict=True):
        phase = int(rng.integers(4))
        (image[:, phase::4] if along else image[phase::4])[:] += 60
    return images


def test_features_tell_what_no_single_pixel_tells() -> None:
    upright = np.arange(200) % 2 == 0
    features = learn(stripes(upright), 32, seed=0).features(stripes(upright))
    means = [features[upright == along][:50].mean(axis=0) for along in (False, True)]
    nearer = [np.linalg.norm(features[100:] - mean, axis=1) for mean in means]
    assert np.mean((nearer[1] < nearer[0]) == upright[100:]) > 0.98
