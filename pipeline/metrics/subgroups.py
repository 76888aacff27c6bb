"""How evenly an arm serves the groups (patients, cameras) that the source names: few by name, many by their spread."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Floats = NDArray[np.float64]

MOST_NAMED = 20  # more groups are told by their spread alone


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups of the test images.

    Attributes:
        of_image: [N] place of each image's group in `names`, -1 for none.
        names: all groups, in alphabetical order.
        judged: places of those with enough test images.
    """

    of_image: NDArray[np.int64]
    names: tuple[str, ...]
    judged: NDArray[np.int64]

    @property
    def named(self) -> bool:
        """Whether each judged group has a figure of its own."""
        return len(self.judged) <= MOST_NAMED


def find_groups(groups: Sequence[str | None], min_images: int) -> Groups:
    """The groups of [N] images; those with at least `min_images` are judged."""
    names = tuple(sorted({name for name in groups if name is not None}))
    place = {name: number for number, name in enumerate(names)}
    of_image = np.array([-1 if name is None else place[name] for name in groups], dtype=np.int64)
    sizes = np.bincount(of_image[of_image >= 0], minlength=len(names))
    return Groups(of_image, names, np.flatnonzero(sizes >= min_images))


def group_accuracy(groups: Groups, labels: Ints, predictions: Ints) -> Floats:
    """Share of each judged group's images that are right, [S, G].

    Args:
        groups: G of which are judged.
        labels: [N] true classes.
        predictions: [S, N] predicted classes.
    """
    right = predictions == labels
    shares = [right[:, groups.of_image == place].mean(axis=1) for place in groups.judged]
    return np.stack(shares, axis=1) if shares else np.empty((len(predictions), 0))
