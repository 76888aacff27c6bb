"""The calibration by hand, and that it does what it is for where its assumptions hold."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.feature_completion import Known
from pipeline.feature_completion.calibration import Calibrated, Params, calibrate, draw, tukey
from pipeline.training.head import Refit, refit

# Class 0: mean (3, 3), covariance 2 in every entry. Class 1: mean (10, 1), variance 2 of the first feature alone.
# Class 2, the poor one, is nearer to class 0: sqrt(8) beside 5.
FEATURES = torch.tensor([[2.0, 2.0], [4.0, 4.0], [9.0, 1.0], [11.0, 1.0], [5.0, 1.0]])
LABELS = np.array([0, 0, 1, 1, 2])


def options(nearest: int = 1, mean_share: float = 0.0, alpha: float = 0.0, power: float = 1.0) -> Params:
    return Params(nearest=nearest, mean_share=mean_share, alpha=alpha, power=power)


def known(features: Tensor = FEATURES, rich: tuple[int, ...] = (0, 1)) -> Known:
    return Known(features, LABELS, np.array(rich))


def covariance(found: Calibrated) -> list[list[float]]:
    within: list[list[float]] = (
        found.deviations.T @ found.deviations + found.spread**2 * torch.eye(len(found.mean))
    ).tolist()
    return within


def test_the_spread_is_that_of_the_nearest_rich_class() -> None:
    found = calibrate(known(), 2, options())
    assert found.mean.tolist() == [5, 1]
    assert covariance(found) == [pytest.approx([2, 2]), pytest.approx([2, 2])]


def test_of_several_it_is_the_mean() -> None:
    found = calibrate(known(), 2, options(nearest=2))
    assert covariance(found) == [pytest.approx([2, 1]), pytest.approx([1, 1])]


def test_alpha_is_in_mean_variances_and_widens_every_direction() -> None:
    found = calibrate(known(), 2, options(nearest=2, alpha=0.5))  # (2 + 1) / 2 * 0.5 = 0.75
    assert covariance(found) == [pytest.approx([2.75, 1]), pytest.approx([1, 1.75])]


def test_a_class_with_one_image_and_the_paper_s_share_has_the_paper_s_mean() -> None:
    # (3 + 10 + 5) / 3 and (3 + 1 + 1) / 3, eq. 6 with k = 2
    assert calibrate(known(), 2, options(nearest=2, mean_share=2 / 3)).mean.tolist() == pytest.approx([6, 5 / 3])
    assert calibrate(known(), 2, options(mean_share=0.5)).mean.tolist() == [4, 2]


def test_where_fewer_are_rich_than_asked_for_all_of_them_lend() -> None:
    found = calibrate(known(rich=(1,)), 2, options(nearest=5))
    assert covariance(found) == [pytest.approx([2, 0]), pytest.approx([0, 0])]


def test_tukey_s_ladder_by_hand_and_back() -> None:
    assert tukey(torch.tensor([0.0, 4.0, 9.0, -16.0]), 0.5).tolist() == [0, 2, 3, -4]
    torch.testing.assert_close(tukey(tukey(FEATURES, 0.3), 1 / 0.3), FEATURES)
    # Class 0 lies at (2, 2) and (4, 4) on the scale of roots, class 2 at (3, 2): one direction of spread remains.
    squared = known(torch.tensor([[4.0, 4.0], [16.0, 16.0], [90.0, 1.0], [95.0, 1.0], [9.0, 4.0]]))
    made = tukey(draw(squared, np.array([0, 0, 50]), 0, options(power=0.5)), 0.5)
    torch.testing.assert_close(made[:, 0] - 3, made[:, 1] - 2)
    assert made[:, 0].mean() == pytest.approx(3, abs=4 * 2**0.5 / 50**0.5)


def test_samples_have_the_calibrated_mean_and_covariance() -> None:
    found = calibrate(known(), 2, options(nearest=2, alpha=0.5))
    drawn = found.sample(40_000, seed=1)
    assert drawn.mean(dim=0).tolist() == pytest.approx([5, 1], abs=0.04)
    assert drawn.T.cov().flatten().tolist() == pytest.approx([2.75, 1, 1, 1.75], abs=0.08)


def test_a_class_s_features_do_not_depend_on_which_others_are_completed() -> None:
    both = draw(known(), np.array([0, 3, 4]), 7, options())
    torch.testing.assert_close(both[3:], draw(known(), np.array([0, 0, 4]), 7, options()), rtol=0, atol=0)


def recalls(seed: int) -> tuple[float, float]:
    """Balanced accuracy of a head on two-image classes without and with calibration; all classes share a covariance."""
    rng = np.random.default_rng(seed)
    counts = np.array([60, 60, 60, 60, 2, 2])
    means, mixing = rng.normal(0, 1.5, (6, 8)), rng.normal(0, 0.5, (8, 8))

    def features(labels: np.ndarray) -> Tensor:
        return torch.from_numpy(means[labels] + rng.normal(0, 1, (len(labels), 8)) @ mixing)

    labels, test_labels = np.repeat(np.arange(6), counts), np.repeat(np.arange(6), 100)
    real, test = features(labels), features(test_labels)
    head = nn.Linear(8, 6).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    wanted = np.array([0, 0, 0, 0, 58, 58])
    made = draw(Known(real, labels, np.arange(4)), wanted, seed, options(nearest=2))
    both, both_labels = torch.cat([real, made]), np.repeat([*range(6), 4, 5], [*counts, 58, 58])
    plain = refit(head, real, labels, np.ones(len(real)), counts, Refit(decay=0.003, prior=1.0))
    calibrated = refit(head, both, both_labels, np.ones(len(both)), counts, Refit(decay=0.003, prior=0.0))
    right = [one(test).argmax(dim=1).numpy() == test_labels for one in (plain, calibrated)]
    return float(right[0].mean()), float(right[1].mean())


def test_classes_of_two_images_that_share_the_others_covariance_are_told_better_with_it() -> None:
    """The plain head is fitted by Balanced Softmax, the calibrated one on classes made equal."""
    plain, calibrated = np.array([recalls(seed) for seed in range(20)]).T
    assert (calibrated > plain).sum() >= 17
    assert (calibrated - plain).mean() > 0.03
