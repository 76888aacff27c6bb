import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import truncnorm
from torch import Tensor, nn

from pipeline.generators.gan import (
    GAN,
    Params,
    Sampling,
    discriminator_loss,
    frozen,
    generator_loss,
    gradient_penalty,
    truncated,
)
from pipeline.training.batches import Batch
from pipeline.training.loop import train
from tests.tiny import bars, batch_of, schedule

OPTIONS: dict[str, Any] = {
    "noise_dim": 4,
    "width": 4,
    "objective": "relativistic",
    "spectral_norm": False,
    "gradient_penalty": 0.0,
    "augment": [],
    "lr": 0.001,
}
REAL, MADE = torch.tensor([2.0, -1.0]), torch.tensor([0.5, -3.0])


def gan(**changes: Any) -> GAN:
    torch.manual_seed(0)
    return GAN(Params(**(OPTIONS | changes)), (1, 8, 8), num_classes=3)


def batch(count: int = 6) -> Batch:
    labels = np.arange(count) % 3
    return batch_of(bars(labels), labels)


def minus_log_sigmoid(*logits: float) -> float:
    """Mean of -log(1 / (1 + e^-x))."""
    return sum(math.log(1 + math.exp(-x)) for x in logits) / len(logits)


# ------------------------------------------------------------ objectives

CROSS_ENTROPY = minus_log_sigmoid(2, -1) + minus_log_sigmoid(-0.5, 3)


@pytest.mark.parametrize(
    ("objective", "discriminator", "generator"),
    [
        ("minimax", CROSS_ENTROPY, -minus_log_sigmoid(-0.5, 3)),
        ("non_saturating", CROSS_ENTROPY, minus_log_sigmoid(0.5, -3)),
        ("hinge", (0 + 2) / 2 + (1.5 + 0) / 2, -(0.5 - 3) / 2),
        ("relativistic", minus_log_sigmoid(2 - 0.5, -1 + 3), minus_log_sigmoid(0.5 - 2, -3 + 1)),
    ],
)
def test_losses_by_hand(objective: str, discriminator: float, generator: float) -> None:
    assert discriminator_loss(objective, REAL, MADE).item() == pytest.approx(discriminator, rel=1e-5)
    assert generator_loss(objective, REAL, MADE).item() == pytest.approx(generator, rel=1e-5)


def test_the_game_s_value_where_nothing_can_be_told_apart_is_minus_log_4() -> None:
    # Goodfellow et al. 2014, theorem 1; the discriminator minimises the negative value.
    nothing = torch.zeros(5)
    assert discriminator_loss("minimax", nothing, nothing).item() == pytest.approx(math.log(4))
    assert generator_loss("minimax", nothing, nothing).item() == pytest.approx(-math.log(2))


@pytest.mark.parametrize(("objective", "slope"), [("minimax", -0.0474259), ("non_saturating", -0.9525741)])
def test_what_saturates(objective: str, slope: float) -> None:
    # The gradient at a logit of -3, a made image that is seen through: -sigmoid(-3) and -sigmoid(3).
    made = torch.tensor([-3.0], requires_grad=True)
    generator_loss(objective, torch.zeros(1), made).backward()
    assert made.grad is not None
    assert made.grad.item() == pytest.approx(slope, rel=1e-4)


# ------------------------------------------------------------ gradient penalty


def test_penalty_by_hand() -> None:
    # The gradient of |x|^2 / 2 is x, that of w x is w.
    images = torch.tensor([[[[3.0, 4.0]]], [[[0.0, 1.0]]]], requires_grad=True)
    assert gradient_penalty(images.square().flatten(1).sum(dim=1) / 2, images).item() == pytest.approx((25 + 1) / 2)
    assert gradient_penalty((images * 2).flatten(1).sum(dim=1), images).item() == pytest.approx(4 + 4)


def test_the_penalty_of_two_kinds_of_images_is_the_sum_of_each_one_s_alone() -> None:
    model, told = gan(), batch()
    real, made = told.images.clone().requires_grad_(), (-told.images).requires_grad_()

    def slopes(together: bool) -> Tensor:
        logits = model._judge(told, real, made)
        if together:
            penalty = gradient_penalty(torch.cat(logits), real, made)
        else:
            penalty = gradient_penalty(logits[0], real) + gradient_penalty(logits[1], made)
        convolution = model.discriminator.features[0].weight
        return torch.cat([penalty.view(1), torch.autograd.grad(penalty, convolution)[0].flatten()])

    torch.testing.assert_close(slopes(together=True), slopes(together=False), rtol=1e-3, atol=1e-7)


class Slope(nn.Module):
    """A discriminator whose logit is `slope` times the sum of the pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(0.5))

    def forward(self, images: Tensor, *_told: Tensor) -> Tensor:
        return self.slope * images.flatten(1).sum(dim=1)


@pytest.mark.parametrize(("objective", "sides"), [("relativistic", 2), ("hinge", 1), ("minimax", 1)])
def test_the_penalty_is_half_gamma_times_r1_and_r2_where_the_objective_is_relativistic(
    objective: str, sides: int
) -> None:
    # |gradient|^2 = 64 pixels * 0.5^2 = 16 at every image; its slope by `slope` is 64 * 2 * 0.5 = 64.
    values, slopes = [], []
    for gamma in (0.0, 3.0):
        model = gan(objective=objective, gradient_penalty=gamma)
        model.discriminator = Slope()  # type: ignore[assignment]
        torch.manual_seed(1)
        loss = model.loss("discriminator", batch(), 0.5)
        loss.backward()
        values.append(loss.item())
        slopes.append(model.discriminator.slope.grad.item())  # type: ignore[union-attr]
    assert values[1] - values[0] == pytest.approx(3 / 2 * 16 * sides, rel=1e-4)
    assert slopes[1] - slopes[0] == pytest.approx(3 / 2 * 64 * sides, rel=1e-4)


def test_where_no_gradients_are_taken_there_is_no_penalty() -> None:
    values = []
    for gamma in (0.0, 3.0):
        model = gan(gradient_penalty=gamma)
        torch.manual_seed(1)
        with torch.no_grad():
            values.append(model.loss("discriminator", batch(), 0.5).item())
    assert values[0] == values[1]


# ------------------------------------------------------------ players


def test_neither_player_s_loss_reaches_the_other() -> None:
    model = gan(gradient_penalty=1.0)
    for player, parameters in model.players().items():
        model.zero_grad(set_to_none=True)
        model.loss(player, batch(), 0.5).backward()
        moved = {id(parameter) for parameter in model.parameters() if parameter.grad is not None}
        assert moved == {id(parameter) for parameter in parameters}
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_what_is_frozen_thaws_after_an_error_too() -> None:
    module = nn.Linear(2, 2)

    def fail() -> None:
        with frozen(module):
            assert not module.weight.requires_grad
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert module.weight.requires_grad


def test_both_players_have_the_optimiser_of_the_dcgan() -> None:
    for player in gan().players():
        assert gan().optimiser(player) == {"lr": 0.001, "betas": (0.5, 0.999), "weight_decay": 0.0}


@pytest.mark.parametrize("blind", ["generator", "discriminator"])
def test_each_is_told_the_batch_s_labels_and_domains(blind: str) -> None:
    values = []
    for change in ("labels", "domains", "nothing"):
        model, one = gan(), batch()
        with torch.no_grad():  # to the one that is blind all classes and domains are the same: the other tells them
            for table in (getattr(model, blind).classes, getattr(model, blind).domains):
                table.weight.fill_(0.1)
        changed = {"labels": (one.labels + 1) % 3, "domains": torch.ones_like(one.domains)}
        one = one._replace(**{key: value for key, value in changed.items() if key == change})
        torch.manual_seed(1)
        values.append(tuple(model.loss(player, one, 0.5).item() for player in model.players()))
    assert len({value[0] for value in values}) == len({value[1] for value in values}) == 3


def test_the_discriminator_judges_by_projection() -> None:
    # What two classes and domains differ in is the features' product with the difference of their embeddings.
    model = gan().discriminator.eval()
    images, ones, zeros = batch(2).images, torch.ones(2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    features = model.features(images)
    for table, told in ((model.classes, (ones, zeros)), (model.domains, (zeros, ones))):
        difference = model(images, *told) - model(images, zeros, zeros)
        expected = features @ (table.weight[1] - table.weight[0])
        torch.testing.assert_close(difference, expected)


def test_spectral_normalisation_keeps_every_layer_at_1() -> None:
    model = gan(spectral_norm=True)
    layers = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
    with torch.no_grad():
        for parameter in model.discriminator.parameters():
            parameter.mul_(5)
    for _ in range(30):  # each step of training brings the power iteration nearer
        model.loss("discriminator", batch(), 0.5)
    assert len(layers) == 6
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item() == pytest.approx(1, abs=0.05)
    assert not any(hasattr(module, "parametrizations") for module in gan().modules())


def test_a_spectrally_normalised_gan_is_averaged_and_loaded_like_any_other() -> None:
    one = batch()
    model, _ = train(
        gan(spectral_norm=True), lambda _: one, schedule(steps=3, ema_decay=0.9), seed=0, label="gan", show=False
    )
    other = gan(spectral_norm=True, width=4)
    other.load_state_dict(model.state_dict())
    told = (one.images, one.labels, one.domains)
    assert torch.equal(other.eval().discriminator(*told), model.discriminator(*told))  # type: ignore[operator]


# ------------------------------------------------------------ drawing


def test_truncated_noise_is_scipy_s_truncated_normal() -> None:
    z = torch.linspace(-4, 4, 9)
    for limit in (0.5, 2.0):
        levels = torch.special.ndtr(z.double()).numpy()
        expected = torch.from_numpy(truncnorm.ppf(levels, -limit, limit)).float()
        torch.testing.assert_close(truncated(z, limit), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(truncated(z, 10.0), z, atol=1e-5, rtol=0)


def test_truncation_makes_samples_less_varied() -> None:
    model, labels, seeds = gan().eval(), np.zeros(200, dtype=np.int64), np.arange(200)
    spread = [
        model.sample(labels, seeds, Sampling(truncation=limit)).std(dim=0).mean().item() for limit in (0.1, 1, 10)
    ]
    assert spread == sorted(spread)
    assert spread[0] < 0.2 * spread[2]


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_source_style_bounds_how_far_a_sample_goes_to_the_source_domain(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = gan().eval(), []
    paint = model.generator.forward

    def record(z: Tensor, labels: Tensor, style: Tensor, *_: Tensor | None) -> Tensor:
        seen.append(style)
        return paint(z, labels, style)

    monkeypatch.setattr(model.generator, "forward", record)
    model.sample(np.full(192, 1), np.arange(192), Sampling(source_style=limit))
    styles = torch.cat(seen)
    assert styles.min() >= 0
    assert 0.9 * limit <= styles.max() <= limit
