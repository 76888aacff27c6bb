"""Which value of the attribute each synthetic image is drawn for."""

from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.dataset import Dataset, group_numbers
from pipeline.seeds import derive

How = Literal["as_found", "even"]


class Attributes:
    """The values that a generator is told beside the class; of one that is told none every draw is for none.

    Args:
        names: of the values that the generator learned.
        real: the training images.
        how: as_found draws each value as often as the class's images have it (those of all classes, where it has no
            image), even each as often as any other, whatever the class has.
    """

    def __init__(self, names: tuple[str, ...], real: Dataset, how: How) -> None:
        self._names = names
        counts = np.zeros((real.num_classes, 1 + len(names)))
        if how == "even" and names:
            counts[:, 1:] = 1
        else:
            np.add.at(counts, (real.labels, group_numbers(real, names)), 1)
            counts[counts.sum(axis=1) == 0] = counts.sum(axis=0)
        self._cumulative = counts.cumsum(axis=1)

    def draw(self, label: int, seeds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The value of each draw for a class, 0 for none, from its seed alone, int64 [N]."""
        share = np.array([derive(seed, "attribute") / 2**31 for seed in seeds])
        cumulative = self._cumulative[label]
        return np.asarray(np.searchsorted(cumulative, share * cumulative[-1], side="right"), dtype=np.int64)

    def names(self, values: npt.NDArray[np.int64]) -> list[str | None]:
        """The name of each value."""
        return [self._names[value - 1] if value else None for value in values]
