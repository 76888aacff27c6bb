"""Losses of a classifier. One file a loss; the folder is the registry.

A loss module has `loss(logits [N, C], labels [N], class_counts [C], smoothing) -> Tensor [N]`, a value an image;
`smoothing` is the share of each label that is spread evenly over the classes (Szegedy et al. 2016, section 7).
"""

from collections.abc import Callable

from torch import Tensor

from pipeline import registry

KIND = "loss"


def get(name: str) -> Callable[[Tensor, Tensor, Tensor, float], Tensor]:
    """The loss of that name.

    Raises:
        UserError: there is none.
    """
    found: Callable[[Tensor, Tensor, Tensor, float], Tensor] = registry.get(__name__, name).loss
    return found
