"""Refuses images that the fold classifiers do not take for their class, or less surely than real unseen ones."""

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
        min_agreement: the least share of fold classifiers that must take an image for its class.
        quantile: of the real images' out-of-fold probability of their class, which an image must reach.
    """

    min_agreement: Annotated[float, Field(ge=0, le=1)]
    quantile: Annotated[float, Field(ge=0, lt=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate is taken for its class, bool [N]; a class that no fold classifier saw is not judged."""
    most = reference.usual_surprise.limits(measures.labels, 1 - params.quantile)
    return ~((measures.agreement < params.min_agreement) | (measures.surprise > most))
