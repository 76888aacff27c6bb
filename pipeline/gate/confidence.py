"""Refuses images that the fold classifiers do not take for their class, or less surely than real unseen ones.

Weak classifiers take most real images for another class, too; so an image taken for another one is refused only if that
one is more probable, against its own, than it is for almost all real unseen images of the class.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.gate import Measures, Reference
from pipeline.params import section


@section
class Params:
    """Options of the check.

    Attributes:
        min_agreement: the share of fold classifiers that must take an image for its class, where they do so with real
            ones.
        quantile: of the real images' out-of-fold probability of their class, which an image must reach, and of the odds
            for it against any other, which it must reach if fewer classifiers take it for its class.
    """

    min_agreement: Annotated[float, Field(ge=0, le=1)]
    quantile: Annotated[float, Field(ge=0, lt=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate is taken for its class, bool [N]; a class that no fold classifier saw is not judged."""
    usual = reference.usual_surprise.limits(measures.labels, 1 - params.quantile)
    odds = reference.usual_odds.lesser(measures.labels, 1 - params.quantile)
    outvoted = (measures.agreement < params.min_agreement) & (measures.odds > odds)
    return ~(outvoted | (measures.surprise > usual))
