"""The contrast between views against the paper's sums written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses import Facts
from pipeline.losses.balanced_contrastive import balanced_contrast
from tests.losses.examples import COUNTS, LABELS, LOGITS, made, value

X, Y = [1.0, 0.0], [0.0, 1.0]


def one_hot(labels: list[int], num_classes: int) -> Tensor:
    return F.one_hot(torch.tensor(labels), num_classes).float()


def test_by_hand() -> None:
    # Two views of one image of class 0 at X, one of class 1 at Y; prototypes at X and Y; temperature 1.
    # First anchor: class 0 without it is {X, prototype X}: mean e^1; class 1 is {Y, prototype Y}: mean e^0.
    # Both positives have similarity 1. Third anchor: class 1 without it is its prototype alone.
    z, c = torch.tensor([X, X, Y]), torch.tensor([X, Y])
    values = balanced_contrast(z, one_hot([0, 0, 1], 2), c, torch.tensor([True, True]), 1.0)
    expected = math.log(math.e + 1) - 1
    torch.testing.assert_close(values, torch.full((3,), expected))


def test_a_large_class_weighs_no_more_than_a_small_one() -> None:
    # Equal images of class 0, many or few, repel an anchor of class 1 alike: class averaging.
    def of_the_last(copies: int) -> float:
        z = torch.tensor([X] * copies + [Y])
        shares = one_hot([0] * copies + [1], 2)
        return float(balanced_contrast(z, shares, torch.tensor([X, Y]), torch.tensor([True, True]), 0.5)[-1])

    assert of_the_last(50) == pytest.approx(of_the_last(1), rel=1e-5)


def written_out(z: Tensor, labels: list[int], c: Tensor, T: float) -> list[float]:
    """Zhu et al. 2022, eq. 6, sum by sum."""
    values = []
    for i, y in enumerate(labels):
        members = {j: [z[k] for k, other in enumerate(labels) if other == j and k != i] + [c[j]] for j in range(len(c))}
        similar = {j: [math.exp(float(z[i] @ m) / T) for m in group] for j, group in members.items()}
        below = sum(sum(group) / len(group) for group in similar.values())
        values.append(-sum(math.log(one / below) for one in similar[y]) / len(similar[y]))
    return values


def test_against_the_sums_written_out() -> None:
    rng = torch.Generator().manual_seed(0)
    z, c = (F.normalize(torch.randn(n, 5, generator=rng)) for n in (8, 4))
    labels = [0, 0, 0, 0, 1, 1, 2, 0]
    values = balanced_contrast(z, one_hot(labels, 4), c, torch.ones(4, dtype=torch.bool), 0.1)
    assert values.tolist() == pytest.approx(written_out(z, labels, c, 0.1), rel=1e-4)


def test_a_class_that_the_data_lack_stays_out() -> None:
    z, c = torch.tensor([X, Y]), torch.tensor([X, Y, X])
    with_third = balanced_contrast(z, one_hot([0, 1], 3), c, torch.tensor([True, True, False]), 1.0)
    torch.testing.assert_close(with_third, balanced_contrast(z, one_hot([0, 1], 2), c[:2], torch.ones(2).bool(), 1.0))


def test_the_first_view_is_classified_by_balanced_softmax() -> None:
    torch.testing.assert_close(value("balanced_contrastive", classification=3.0), 3 * value("balanced_softmax"))


def test_an_image_s_value_is_the_mean_over_its_views_and_the_prototypes_follow_the_head() -> None:
    loss, head = made("balanced_contrastive", Facts(4, 3), contrast=0.5, temperature=0.2), torch.nn.Linear(4, 3)
    features = torch.randn(4, 2, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        values = loss.of_views(features, head, LABELS, COUNTS)
        z = F.normalize(loss.projection(torch.cat([features[:, 0], features[:, 1]])))
        expected = written_out(z, LABELS.tolist() * 2, F.normalize(loss.prototypes(head.weight)), 0.2)
    means = [0.5 * (expected[i] + expected[i + 4]) / 2 for i in range(len(LOGITS))]
    assert values.tolist() == pytest.approx(means, rel=1e-4)
    loss.of_views(features, head, LABELS, COUNTS).sum().backward()
    assert head.weight.grad is not None
    assert head.weight.grad.abs().sum() > 0


def test_views_of_distributions_lie_between_those_of_their_labels() -> None:
    z, c = torch.tensor([X]), torch.tensor([X, Y])
    both = torch.tensor([True, True])
    near, far, half = (
        balanced_contrast(z, torch.tensor([shares]), c, both, 1.0).item() for shares in ([1.0, 0], [0, 1.0], [0.5, 0.5])
    )
    assert half == pytest.approx((near + far) / 2)
