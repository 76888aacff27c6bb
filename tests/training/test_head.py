"""Fitting a head anew, against conditions that hold at the minimum and a fit by other means."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import nn

from pipeline.training.head import Refit, refit

FEATURES = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
LABELS = np.repeat([0, 1, 2], [20, 8, 2])
COUNTS = np.array([20, 8, 2])
ONES = np.ones(30)


def head(num_features: int = 4, num_classes: int = 3) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Linear(num_features, num_classes)


def test_a_strong_pull_leaves_the_head_as_it_is_and_the_given_one_is_never_changed() -> None:
    own = head()
    before = own.weight.detach().clone()
    fitted = refit(own, FEATURES, LABELS, ONES, COUNTS, Refit(decay=1e9, prior=1.0))
    torch.testing.assert_close(fitted.weight, before)
    assert not torch.allclose(refit(own, FEATURES, LABELS, ONES, COUNTS, Refit(decay=1e-3, prior=1.0)).weight, before)
    assert torch.equal(own.weight, before)


def test_without_features_the_bias_alone_is_fitted_and_meets_its_condition() -> None:
    # d/db: share predicted - share of the class + decay * (b - b_0) = 0, and the shift is by log(counts ** prior)
    own = head()
    fitted = refit(own, torch.zeros(30, 4), LABELS, ONES, COUNTS, Refit(decay=0.5, prior=0.7))
    b, b_0 = fitted.bias.detach().double(), own.bias.detach().double()
    predicted = (b + 0.7 * torch.tensor([20.0, 8.0, 2.0]).double().log()).softmax(dim=0)
    condition = predicted - torch.tensor([20, 8, 2]) / 30 + 0.5 * (b - b_0)
    assert condition.tolist() == pytest.approx([0, 0, 0], abs=1e-6)
    assert torch.equal(fitted.weight, own.weight)


def test_it_is_the_minimum_that_scipy_finds_of_the_same_sum_written_out() -> None:
    own, weights = head(), np.linspace(0.2, 2, 30)
    x, start = (
        FEATURES.double().numpy(),
        np.concatenate([p.detach().double().numpy().ravel() for p in own.parameters()]),
    )

    def objective(theta: np.ndarray) -> float:
        logits = x @ theta[:12].reshape(3, 4).T + theta[12:] + 0.5 * np.log(COUNTS)
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(30), LABELS]
        scale = (weights * (x**2).sum(axis=1)).sum() / weights.sum()
        pull = scale * ((theta - start)[:12] ** 2).sum() + ((theta - start)[12:] ** 2).sum()
        return float((weights * losses).sum() / weights.sum() + 0.01 / 2 * pull)

    found = minimize(objective, start, method="BFGS", options={"gtol": 1e-7}).x
    fitted = refit(own, FEATURES, LABELS, weights, COUNTS, Refit(decay=0.01, prior=0.5))
    assert fitted.weight.detach().ravel().tolist() == pytest.approx(found[:12], abs=1e-4)
    assert fitted.bias.tolist() == pytest.approx(found[12:], abs=1e-4)


def test_a_weight_of_two_is_an_image_twice() -> None:
    how = Refit(decay=0.01, prior=1.0)
    twice = torch.cat([FEATURES, FEATURES[20:]]), np.concatenate([LABELS, LABELS[20:]])
    weighted = refit(head(), FEATURES, LABELS, np.where(LABELS > 0, 2.0, 1.0), COUNTS, how)
    torch.testing.assert_close(weighted.weight, refit(head(), *twice, np.ones(40), COUNTS, how).weight)


def test_the_unit_of_features_does_not_change_what_is_predicted() -> None:
    own, larger, how = head(), head(), Refit(decay=0.01, prior=1.0)
    with torch.no_grad():
        larger.weight.div_(1000)
    logits = refit(own, FEATURES, LABELS, ONES, COUNTS, how)(FEATURES)
    other = refit(larger, 1000 * FEATURES, LABELS, ONES, COUNTS, how)(1000 * FEATURES)
    torch.testing.assert_close(logits, other, atol=1e-3, rtol=0)


def test_a_class_without_an_image_keeps_its_part() -> None:
    own = head(num_classes=4)
    fitted = refit(own, FEATURES, LABELS, ONES, np.array([20, 8, 2, 0]), Refit(decay=0.001, prior=1.0))
    torch.testing.assert_close(fitted.weight[3], own.weight[3], atol=1e-6, rtol=0)
    assert not torch.allclose(fitted.weight[2], own.weight[2], atol=0.01)
