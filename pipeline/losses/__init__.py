"""Losses of a classifier. One file a loss; the folder is the registry.

A loss module has `loss(logits [N, C], labels [N], class_counts [C]) -> Tensor [N]`, a value an image.
"""

from collections.abc import Callable

from torch import Tensor

from pipeline import registry

KIND = "loss"


def get(name: str) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The loss of that name.

    Raises:
        UserError: there is none.
    """
    found: Callable[[Tensor, Tensor, Tensor], Tensor] = registry.get(__name__, name).loss
    return found
