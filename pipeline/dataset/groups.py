"""The groups (cameras, sites, …) that the source names, as numbers."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.dataset.reader import Dataset


def group_names(dataset: Dataset) -> tuple[str, ...]:
    """All groups of a data set, in alphabetical order."""
    return tuple(sorted(dataset.frame(["group"])["group"].dropna().unique()))


def group_numbers(dataset: Dataset, names: Sequence[str]) -> npt.NDArray[np.int64]:
    """The place of each row's group in `names`, counted from 1, int64 [N]; 0 for no group or one that is not named."""
    if not names:
        return np.zeros(dataset.num_rows, dtype=np.int64)
    places = pd.Index(names, dtype="str").get_indexer(dataset.frame(["group"])["group"])
    return np.asarray(places, dtype=np.int64) + 1
