"""What every loss must do, and the known answers of ours."""

import math

import pytest
import torch
from torch import Tensor

from pipeline import losses, registry
from pipeline.errors import UserError

KINDS = registry.names("pipeline.losses")
every_kind = pytest.mark.parametrize("name", KINDS)

LOGITS = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5], [3.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
LABELS = torch.tensor([0, 1, 2, 1])
COUNTS = torch.tensor([100.0, 10.0, 1.0])


def value(
    name: str, logits: Tensor = LOGITS, labels: Tensor = LABELS, counts: Tensor = COUNTS, smoothing: float = 0.0
) -> Tensor:
    return losses.get(name)(logits, labels, counts, smoothing)


@every_kind
def test_a_finite_value_of_at_least_zero_an_image_with_a_gradient(name: str) -> None:
    logits = LOGITS.clone().requires_grad_()
    values = value(name, logits)
    assert values.shape == (4,)
    assert torch.isfinite(values).all()
    assert (values >= 0).all()
    values.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[torch.arange(4), LABELS] < 0).all()  # a larger logit of the true class is better


@every_kind
def test_an_image_s_value_does_not_depend_on_the_others(name: str) -> None:
    torch.testing.assert_close(value(name)[1:2], value(name, LOGITS[1:2], LABELS[1:2]))


@every_kind
def test_what_counts_is_their_ratio(name: str) -> None:
    torch.testing.assert_close(value(name, counts=COUNTS), value(name, counts=7 * COUNTS))


@every_kind
def test_a_class_without_an_image_breaks_nothing(name: str) -> None:
    values = value(name, LOGITS[:2], LABELS[:2], torch.tensor([5.0, 5.0, 0.0]))
    assert torch.isfinite(values).all()


@every_kind
def test_equal_counts_reduce_to_cross_entropy(name: str) -> None:
    expected = -LOGITS.log_softmax(dim=1)[torch.arange(4), LABELS]
    torch.testing.assert_close(value(name, counts=torch.full((3,), 20.0)), expected)


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


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_an_empty_class_takes_no_part_in_the_balanced_softmax(smoothing: float) -> None:
    logits = LOGITS[3:].clone().requires_grad_()
    values = value("balanced_softmax", logits, LABELS[3:], torch.tensor([5.0, 5.0, 0.0]), smoothing)
    torch.testing.assert_close(values, torch.tensor([math.log(2)]))
    values.sum().backward()
    assert logits.grad is not None
    assert logits.grad[0, 2].abs() < 1e-6


@every_kind
def test_smoothing_mixes_the_label_with_the_mean_over_classes(name: str) -> None:
    every_label = [value(name, LOGITS[:1], torch.tensor([label])) for label in range(3)]
    expected = 0.9 * every_label[0] + 0.1 * sum(every_label) / 3
    torch.testing.assert_close(value(name, LOGITS[:1], LABELS[:1], smoothing=0.1), expected)


def test_smoothing_leaves_out_an_empty_class_of_the_balanced_softmax() -> None:
    values = value("balanced_softmax", LOGITS[3:], LABELS[3:], torch.tensor([5.0, 5.0, 0.0]), smoothing=0.2)
    torch.testing.assert_close(values, torch.tensor([math.log(2)]))


@every_kind
def test_smoothing_by_hand(name: str) -> None:
    # Szegedy et al. 2016, section 7: the label's share is 1 - 0.3 + 0.3 / 3 = 0.8, the others' 0.1 each.
    counts = torch.full((3,), 4.0)
    logs = LOGITS[0].log_softmax(dim=0)
    expected = -(0.8 * logs[0] + 0.1 * logs[1] + 0.1 * logs[2])
    torch.testing.assert_close(value(name, LOGITS[:1], LABELS[:1], counts, smoothing=0.3)[0], expected)


def test_an_unknown_name_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        losses.get("focall")
    assert str(caught.value) == f"unknown loss 'focall'; known: {', '.join(KINDS)}"
