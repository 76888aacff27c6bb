"""Known answers of each loss."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline.losses import Facts, effective_weights
from tests.losses.examples import COUNTS, LABELS, LOGITS, made, value

EVEN = torch.full((3,), 20.0)


# ------------------------------------------------------------ cross-entropy and its adjustments


def test_cross_entropy_by_hand() -> None:
    # equal logits: log 3; (1, 0, -1), class 0: log(1 + e^-1 + e^-2)
    expected = torch.tensor([math.log(1 + math.exp(-1) + math.exp(-2)), math.log(3)])
    torch.testing.assert_close(value("cross_entropy")[[0, 3]], expected)


def test_balanced_softmax_by_hand() -> None:
    # -log(n_y e^(z_y) / sum_i n_i e^(z_i)), Ren et al. 2020, eq. 4
    expected = torch.tensor(
        [
            -math.log(100 * math.e / (100 * math.e + 10 + math.exp(-1))),
            -math.log(10 * math.exp(2) / (100 + 10 * math.exp(2) + math.exp(0.5))),
            -math.log(1 / (100 * math.exp(3) + 10 + 1)),
            -math.log(10 / 111),
        ]
    )
    torch.testing.assert_close(value("balanced_softmax"), expected)


def test_logit_adjustment_by_hand() -> None:
    # Menon et al. 2021, eq. 10, tau = 1/2: class sizes count by their roots 10, sqrt(10), 1
    roots = 10 + math.sqrt(10) + 1
    expected = torch.tensor([-math.log(math.sqrt(10) / roots)])
    torch.testing.assert_close(value("logit_adjustment", LOGITS[3:], LABELS[3:], tau=0.5), expected)
    assert torch.equal(value("logit_adjustment", tau=1.0), value("balanced_softmax"))
    torch.testing.assert_close(value("logit_adjustment", tau=0.0), value("cross_entropy"))


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize(("name", "tau"), [("balanced_softmax", {}), ("logit_adjustment", {"tau": 0.5})])
def test_an_empty_class_takes_no_part_in_shifted_logits(name: str, tau: dict[str, float], smoothing: float) -> None:
    logits = LOGITS[3:].clone().requires_grad_()
    values = value(name, logits, LABELS[3:], torch.tensor([5.0, 5.0, 0.0]), smoothing, **tau)
    torch.testing.assert_close(values, torch.tensor([math.log(2)]))
    values.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 2].abs() < 1e-6


@pytest.mark.parametrize("name", ["cross_entropy", "balanced_softmax", "logit_adjustment", "class_balanced"])
def test_equal_counts_reduce_to_cross_entropy(name: str) -> None:
    expected = -LOGITS.log_softmax(dim=1)[torch.arange(4), LABELS]
    torch.testing.assert_close(value(name, counts=EVEN), expected)


@pytest.mark.parametrize("name", ["cross_entropy", "balanced_softmax", "logit_adjustment", "class_balanced"])
def test_smoothing_by_hand(name: str) -> None:
    # Szegedy et al. 2016, section 7: the label's share is 1 - 0.3 + 0.3 / 3 = 0.8, the others' 0.1 each.
    logs = LOGITS[0].log_softmax(dim=0)
    expected = -(0.8 * logs[0] + 0.1 * logs[1] + 0.1 * logs[2])
    torch.testing.assert_close(value(name, LOGITS[:1], LABELS[:1], EVEN, smoothing=0.3)[0], expected)


def test_cross_entropy_and_balanced_softmax_have_the_bits_that_they_always_had() -> None:
    """As the plain functions that they were when the demo's figures were made: value and gradient."""

    def balanced(logits: torch.Tensor, smoothing: float) -> torch.Tensor:
        present = counts > 0
        log_probs = F.log_softmax(logits + torch.where(present, counts, 1e-12).log(), dim=1)
        own = log_probs.gather(1, labels[:, None])[:, 0]
        spread = (log_probs * present).sum(dim=1) / present.sum()
        return -(1 - smoothing) * own - smoothing * spread

    def plain(logits: torch.Tensor, smoothing: float) -> torch.Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)

    rng = torch.Generator().manual_seed(0)
    given, labels = torch.randn(64, 10, generator=rng) * 3, torch.randint(0, 9, (64,), generator=rng)
    counts = torch.tensor([40.0, 29, 21, 15, 11, 8, 6, 4, 3, 0])
    for name, before in (("cross_entropy", plain), ("balanced_softmax", balanced)):
        for smoothing in (0.0, 0.1):
            old, new = given.clone().requires_grad_(), given.clone().requires_grad_()
            values, expected = value(name, new, labels, counts, smoothing), before(old, smoothing)
            assert torch.equal(values, expected)
            values.mean().backward()
            expected.mean().backward()
            assert torch.equal(new.grad, old.grad)


# ------------------------------------------------------------ focal


def test_focal_by_hand() -> None:
    # Lin et al. 2017, eq. 4: -(1 - p)^2 log p with p = 1/3
    torch.testing.assert_close(value("focal", gamma=2.0)[3], torch.tensor(4 / 9 * math.log(3)))
    torch.testing.assert_close(value("focal", gamma=0.0), value("cross_entropy"))


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_a_certain_image_counts_nothing_and_its_gradient_is_finite(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    values = value("focal", logits, LABELS[:1], gamma=gamma)
    values.sum().backward()
    assert values.item() == pytest.approx(0.0, abs=1e-6)
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-3


# ------------------------------------------------------------ weights by the effective number


def test_effective_weights_by_hand() -> None:
    # Cui et al. 2019, eq. 2, beta = 1/2: 1, 2 and 3 images count as 1, 3/2, 7/4; weights 1, 2/3, 4/7, sum 47/21
    weights = effective_weights(torch.tensor([1.0, 2.0, 3.0, 0.0]), 0.5)
    expected = torch.tensor([1.0, 2 / 3, 4 / 7, 0.0]) * 3 / (47 / 21)
    torch.testing.assert_close(weights, expected)


def test_effective_weights_go_from_equal_to_inverse_sizes() -> None:
    torch.testing.assert_close(effective_weights(COUNTS, 0.0), torch.ones(3))
    inverse = 1 / COUNTS
    torch.testing.assert_close(effective_weights(COUNTS, 1 - 1e-9), inverse * 3 / inverse.sum(), rtol=1e-4, atol=1e-5)


def test_class_balanced_by_hand() -> None:
    weights = torch.tensor([1.0, 2 / 3, 4 / 7]) * 3 / (47 / 21)
    values = value("class_balanced", counts=torch.tensor([1.0, 2.0, 3.0]), beta=0.5)
    torch.testing.assert_close(values, weights[LABELS] * value("cross_entropy"))


# ------------------------------------------------------------ LDAM-DRW


def test_ldam_by_hand() -> None:
    # Cao et al. 2019, eq. 13: sizes 16 and 1 have margins in the ratio 1 : 2, the larger one 0.5; scale 2
    counts, cosines = torch.tensor([16.0, 1.0]), torch.tensor([[0.3, -0.1], [0.3, -0.1]])
    values = value("ldam_drw", 2 * cosines, torch.tensor([0, 1]), counts, max_margin=0.5, scale=2.0, defer=1.0)
    first, second = 2 * (0.3 - 0.25), 2 * (-0.1 - 0.5)
    expected = [
        -math.log(math.exp(first) / (math.exp(first) + math.exp(-0.2))),
        -math.log(math.exp(second) / (math.exp(second) + math.exp(0.6))),
    ]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_weights_are_deferred_and_leave_the_mean_image_as_it_is() -> None:
    counts, logits = torch.tensor([3.0, 1.0]), torch.zeros(4, 2)
    labels = torch.tensor([0, 0, 0, 1])
    options = {"max_margin": 0.0, "scale": 1.0, "defer": 0.8, "beta": 0.5}
    before = value("ldam_drw", logits, labels, counts, progress=0.79, **options)
    after = value("ldam_drw", logits, labels, counts, progress=0.8, **options)
    torch.testing.assert_close(before, torch.full((4,), math.log(2)))
    torch.testing.assert_close(after.mean(), before.mean())
    assert (after[3] / after[0]).item() == pytest.approx(7 / 4)  # 1 / effective number: 1 against 4/7


def test_logits_are_scaled_cosines_whatever_the_lengths_and_the_bias() -> None:
    loss, head = made("ldam_drw", Facts(2, 2), scale=10.0), nn.Linear(2, 2)
    loss.start(head)
    assert head.bias.tolist() == [0.0, 0.0]
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 0.0], [1.0, 1.0]]))
    features = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    expected = 10 * torch.tensor([[1.0, math.sqrt(0.5)], [0.0, math.sqrt(0.5)]])
    torch.testing.assert_close(loss.logits(features, head), expected)
    loss.finish(head)  # mean length 3: a feature of that length gets the training's logits
    torch.testing.assert_close(head(torch.tensor([[3.0, 0.0]])), expected[:1])
