"""Fits a network's linear head anew, on features; the trunk stays as it is."""

import copy
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline import losses
from pipeline.losses import Facts, Loss
from pipeline.params import section

MAX_ITERATIONS = 200


@section
class Refit:
    """How the head is fitted.

    Attributes:
        decay: pull towards the network's own head, where 1 weighs a change of the weights like one of the logits.
        prior: power of the class counts in the loss's prior; 0 leaves it out, 1 is Balanced Softmax.
    """

    decay: Annotated[float, Field(gt=0)]
    prior: Annotated[float, Field(ge=0)]


class Term(NamedTuple):
    """A part of the loss: a weighted sum over some images.

    Attributes:
        features: [N, D].
        labels: int64 [N].
        weights: float64 [N], of each image in the sum.
        class_counts: float64 [C], what the loss is told.
    """

    features: Tensor
    labels: Tensor
    weights: Tensor
    class_counts: Tensor


def refit(
    head: nn.Linear,
    features: Tensor,
    labels: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    class_counts: npt.NDArray[np.int64],
    how: Refit,
) -> nn.Linear:
    """The head that fits the features best without going far from the network's own.

    It minimises E BalancedSoftmax(W x + b, y; counts ** prior) + decay / 2 (E|x|^2 |W - W_0|^2 + |b - b_0|^2), E the
    weighted mean. That is strictly convex: L-BFGS finds its one minimum, in double precision.

    Args:
        features: [N, D].
        weights: [N].
        class_counts: [C], of the prior; a class with 0 keeps its part of the head.
    """
    loss = losses.create("balanced_softmax", {}, Facts(head.in_features, head.out_features))
    counts = torch.from_numpy(np.where(class_counts > 0, class_counts.astype(np.float64) ** how.prior, 0.0))
    term = Term(features, torch.from_numpy(labels), torch.from_numpy(weights / weights.sum()), counts)
    return minimise(head, [term], loss, how.decay)[0]


def minimise(head: nn.Linear, terms: Sequence[Term], loss: Loss, decay: float) -> tuple[nn.Linear, list[float]]:
    """The linear head with the least sum of losses + decay / 2 (E|x|^2 |W - W_0|^2 + |b - b_0|^2), by L-BFGS.

    Returns:
        A new head, and the value at each evaluation on the way to it.
    """
    size = float(sum(term.weights @ term.features.double().square().sum(dim=1) for term in terms)) ** 0.5 or 1.0
    scaled = [term._replace(features=term.features.double() / size) for term in terms]
    W_0, b_0 = head.weight.detach().double() * size, head.bias.detach().double()
    W, b = (start.clone().requires_grad_() for start in (W_0, b_0))
    optimiser = torch.optim.LBFGS(
        [W, b], max_iter=MAX_ITERATIONS, tolerance_grad=1e-9, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )
    values: list[float] = []

    def objective() -> Tensor:
        optimiser.zero_grad()
        pull = (W - W_0).square().sum() + (b - b_0).square().sum()
        data = torch.stack([share @ loss(x @ W.T + b, y, counts, 1.0) for x, y, share, counts in scaled]).sum()
        value = data + decay / 2 * pull
        value.backward()  # type: ignore[no-untyped-call]
        values.append(float(value.detach()))
        return value

    optimiser.step(objective)  # type: ignore[no-untyped-call]
    fitted = copy.deepcopy(head)
    with torch.no_grad():
        fitted.weight.copy_(W / size)
        fitted.bias.copy_(b)
    return fitted, values
