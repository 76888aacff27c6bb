import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.metrics.temperature import MIN_IMAGES, fit_temperature, log_softmax, pooled, tempered

Floats = NDArray[np.float64]


def honest(num_images: int, seed: int = 0) -> tuple[Floats, NDArray[np.int64]]:
    """Logits of 4 classes, and labels drawn with the very probabilities that they say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (num_images, 4))
    drawn = np.cumsum(tempered(logits, 1.0), axis=1) < rng.random((num_images, 1))
    return logits, drawn.sum(axis=1)


@pytest.mark.parametrize("factor", [3.0, 1.0, 0.4])
def test_it_finds_by_what_honest_logits_were_multiplied(factor: float) -> None:
    logits, labels = honest(20_000)
    assert fit_temperature(factor * logits, labels) == pytest.approx(factor, rel=0.03)


def test_the_gradient_at_the_temperature_found_is_zero() -> None:
    """d/du of sum -log p(y) + u^2 / (2 * 0.5^2) at T = exp(u), by hand: sum (z_y - E z) / T + 4 u = 0."""
    logits, labels = honest(300)
    t = fit_temperature(2.0 * logits, labels)
    assert t is not None
    z = 2.0 * logits / t
    slope = (z[np.arange(300), labels] - (tempered(z, 1.0) * z).sum(axis=1)).sum()
    assert slope + 4 * np.log(t) == pytest.approx(0, abs=0.01)


def test_without_a_mistake_among_few_it_stays_near_one() -> None:
    labels = np.arange(40) % 4
    t = fit_temperature(8.0 * np.eye(4)[labels], labels)
    assert t is not None
    assert 0.8 < t < 1


@pytest.mark.parametrize("number", [0, MIN_IMAGES - 1])
def test_too_few_images_say_nothing(number: int) -> None:
    logits, labels = honest(number)
    assert fit_temperature(logits, labels) is None
    assert fit_temperature(*honest(MIN_IMAGES)) is not None


def test_a_network_that_diverged_has_no_temperature() -> None:
    logits, labels = honest(50)
    logits[3, 1] = np.nan
    assert fit_temperature(logits, labels) is None


@pytest.mark.parametrize("temperature", [0.05, 0.5, 1.0, 3.0, 20.0])
def test_no_temperature_changes_the_order_of_the_classes(temperature: float) -> None:
    logits, _ = honest(500)
    networks = np.stack([logits, honest(500, seed=1)[0]])
    for before in (logits, pooled(networks)):
        after = tempered(before, temperature)
        assert (after.argmax(axis=1) == before.argmax(axis=1)).all()
        assert (np.argsort(np.log(after + 1e-300), axis=1)[:, -2:] == np.argsort(before, axis=1)[:, -2:]).all()
        assert after.sum(axis=1) == pytest.approx(1)


def test_the_pool_is_the_mean_of_the_probabilities() -> None:
    a, b = np.log([[0.5, 0.5]]), np.log([[0.9, 0.1]])
    assert np.exp(pooled(np.stack([a + 7, b - 900]))) == pytest.approx(np.array([[0.7, 0.3]]))


def test_probabilities_under_a_temperature_by_hand() -> None:
    """At T = 2 probabilities become their square roots, normalised: (0.81, 0.01) -> (0.9, 0.1)."""
    assert tempered(np.log([0.81, 0.01]), 2.0) == pytest.approx([0.9, 0.1])
    assert np.exp(log_softmax(np.array([1e4, 1e4 + np.log(3)]))) == pytest.approx([0.25, 0.75])
