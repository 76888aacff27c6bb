"""Fills every class up to the target, whatever it costs."""

from typing import Literal

import numpy as np

from pipeline.params import section
from pipeline.strategies import Ints, Limits, Situation, shortages


@section
class Params:
    """Options of the strategy.

    Attributes:
        toward: "even" (classes of equal size) or "reference" (the shares that analyze_bias.reference gives).
    """

    toward: Literal["even", "reference"]


def plan(situation: Situation, limits: Limits, params: Params) -> tuple[Ints, Ints]:
    """Shares each class's shortage between the two means, each within its limit."""
    shortage = shortages(situation, limits.target, params.toward)
    most_augmented, most_synthesized = limits.most(situation.counts)
    augment = np.minimum(np.rint(limits.augment_share * shortage).astype(np.int64), most_augmented)
    return augment, np.minimum(shortage - augment, most_synthesized)
