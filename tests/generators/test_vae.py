import math
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.generators.vae import VAE, Params, Sampling, gaussian_log_likelihood, kl_divergence
from tests.tiny import bars, batch_of

OPTIONS = {
    "latent_dim": 2,
    "width": 4,
    "beta": 1.0,
    "kl_warmup": 0.5,
    "free_bits": 0.0,
    "bank": 4,
}


def vae(**changes: Any) -> VAE:
    torch.manual_seed(0)
    return VAE(Params(**(OPTIONS | changes)), (1, 8, 8), num_classes=3)


def test_divergence_by_hand() -> None:
    # 1/2 (mu^2 + sigma^2 - 1 - log sigma^2): N(0, 1) has none; N(1, 1) 1/2; N(2, 4) 1/2 (4 + 4 - 1 - log 4).
    mu = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]])
    logvar = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, math.log(4)]])
    expected = torch.tensor([[0.0, 0.0], [0.5, 0.0], [0.5, 0.5 * (4 + 4 - 1 - math.log(4))]])
    torch.testing.assert_close(kl_divergence(mu, logvar), expected)


def test_divergence_is_torchs_own() -> None:
    mu, logvar = torch.randn(5, 4, generator=torch.Generator().manual_seed(0)), torch.linspace(-3, 3, 20).view(5, 4)
    normal = torch.distributions.Normal
    theirs = torch.distributions.kl_divergence(normal(mu, (0.5 * logvar).exp()), normal(0.0, 1.0))
    torch.testing.assert_close(kl_divergence(mu, logvar), theirs)


def test_log_likelihood_by_hand() -> None:
    # -(sum of squares / (2 sigma^2) + D log sigma), without D/2 log(2 pi): D = 4, squares 0 + 1 + 4 + 0 = 5, sigma = 2.
    images, mean = torch.tensor([0.0, 1.0, -1.0, 0.5]).view(1, 1, 2, 2), torch.tensor([0.0, 0.0, 1.0, 0.5])
    value = gaussian_log_likelihood(images, mean.view(1, 1, 2, 2), torch.tensor(math.log(2)))
    torch.testing.assert_close(value, torch.tensor([-(5 / 8 + 4 * math.log(2))]))
    normal = torch.distributions.Normal(mean, 2.0).log_prob(images.flatten()).sum() + 2 * math.log(2 * math.pi)
    torch.testing.assert_close(value[0], normal)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.25, 1.5), (0.5, 3.0), (1.0, 3.0)])
def test_the_loss_is_the_negative_bound_with_beta_warmed_up(progress: float, weight: float) -> None:
    # z has no spread to speak of where log sigma^2 is at its floor, so the expectation is the value at mu.
    model = vae(beta=3.0)
    with torch.no_grad():
        model.posterior[-1].bias[2:] = -100.0
    labels = np.array([0, 1, 2])
    batch = batch_of(bars(labels), labels)
    mu, logvar = model.encode(batch.images, batch.labels, batch.domains)
    torch.manual_seed(5)
    z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
    decoded = model.decode(z, batch.labels, batch.domains.float())
    likelihood = gaussian_log_likelihood(batch.images, decoded, model.log_sigma)
    expected = weight * kl_divergence(mu, logvar).sum(dim=1).mean() - likelihood.mean()
    torch.manual_seed(5)
    torch.testing.assert_close(model.loss("vae", batch, progress), expected)


def test_no_warm_up_means_the_whole_bound_from_the_start() -> None:
    labels = np.array([0, 1, 2])
    batch = batch_of(bars(labels), labels)
    values = []
    for warmup, progress in ((0.0, 0.0), (0.5, 1.0)):
        model = vae(kl_warmup=warmup)
        torch.manual_seed(5)
        values.append(model.loss("vae", batch, progress).item())
    assert values[0] == values[1]


def test_free_bits_by_hand() -> None:
    # Means over the batch of the two divergences: 1.6 and 0.1. What is below 0.5 costs 0.5 and has no slope.
    model = vae(free_bits=0.5, beta=3.0, kl_warmup=0.0)
    likelihood, values = torch.tensor([-7.0, -9.0]), torch.tensor([[3.0, 0.0], [0.2, 0.2]], requires_grad=True)
    loss = model.bound(values, likelihood, 1.0)
    assert loss.item() == pytest.approx(3.0 * (1.6 + 0.5) + 8.0)
    loss.backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[1.5, 0.0], [1.5, 0.0]]


def remembering(**changes: Any) -> VAE:
    """Remembers three source images of class 1."""
    model = vae(**changes)
    model.remember(batch_of(bars([1, 1, 1]), np.array([1, 1, 1])).images, 1)
    return model


def test_without_remembered_images_samples_are_of_the_target_domain() -> None:
    model = vae()
    labels, seeds = np.array([0, 1, 2]), np.array([5, 6, 7])
    before = model.sample(labels, seeds)
    with torch.no_grad():
        model.domains.weight[1] += 10.0  # the source domain
    assert torch.equal(model.sample(labels, seeds), before)
    with torch.no_grad():
        model.domains.weight[0] += 10.0
    assert not torch.equal(model.sample(labels, seeds), before)


def test_what_is_remembered_are_the_posteriors_of_the_source_images_repeated_to_fill_the_bank() -> None:
    model = remembering()
    images = batch_of(bars([1, 1, 1]), np.array([1, 1, 1])).images
    with torch.no_grad():
        mu, logvar = model.encode(images, torch.tensor([1, 1, 1]), torch.tensor([1, 1, 1]))
    torch.testing.assert_close(model.bank_mu[1], mu[[0, 1, 2, 0]])
    torch.testing.assert_close(model.bank_logvar[1], logvar[[0, 1, 2, 0]])
    assert model.bank_filled.tolist() == [False, True, False]


def test_remembered_images_change_their_class_only() -> None:
    labels, seeds = np.array([0, 1, 2, 1]), np.array([5, 6, 7, 8])
    changed = (remembering().sample(labels, seeds) != vae().sample(labels, seeds)).flatten(1).any(dim=1)
    assert changed.tolist() == [False, True, False, True]


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_source_style_bounds_how_far_a_sample_goes_to_the_source_domain(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = remembering()
    seen: list[torch.Tensor] = []
    decode = model.decode

    def record(z: torch.Tensor, labels: torch.Tensor, style: torch.Tensor, *_: torch.Tensor | None) -> torch.Tensor:
        seen.append(style)
        return decode(z, labels, style)

    monkeypatch.setattr(model, "decode", record)
    model.sample(np.full(192, 1), np.arange(192), Sampling(source_style=limit))
    styles = torch.cat(seen)
    assert styles.min() >= 0
    assert 0.9 * limit <= styles.max() <= limit


def test_no_bank_remembers_nothing() -> None:
    labels, seeds = np.array([0, 1]), np.array([5, 6])
    assert torch.equal(remembering(bank=0).sample(labels, seeds), vae(bank=0).sample(labels, seeds))


def test_a_batch_may_hold_both_domains() -> None:
    labels = np.array([0, 1])
    batch = batch_of(bars(labels), labels)
    model = vae()
    torch.manual_seed(0)
    target = model.loss("vae", batch, 1.0)
    torch.manual_seed(0)
    mixed = model.loss("vae", batch._replace(domains=torch.tensor([0, 1])), 1.0)
    assert not torch.equal(target, mixed)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_temperature_is_the_spread_of_z(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = vae(), []
    decode = model.decode

    def record(z: torch.Tensor, labels: torch.Tensor, style: torch.Tensor, *_: torch.Tensor | None) -> torch.Tensor:
        seen.append(z)
        return decode(z, labels, style)

    monkeypatch.setattr(model, "decode", record)
    model.sample(np.zeros(1280, dtype=np.int64), np.arange(1280), Sampling(temperature=temperature))
    assert torch.cat(seen).std().item() == pytest.approx(temperature, rel=0.05)


def test_the_flat_layer_stays_small_however_large_the_image() -> None:
    for side, flat in ((8, 8 * 2 * 2), (64, 32 * 2 * 2), (100, 32 * 4 * 4), (128, 32 * 2 * 2)):
        model = VAE(Params(**OPTIONS), (3, side, side), num_classes=3)
        assert model.posterior[0].in_features == flat + 2 * 16
