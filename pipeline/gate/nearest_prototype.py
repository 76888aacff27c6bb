"""Refuses images that look more like another class: its prototype is the nearest for too many fold classifiers.

Weak classifiers find another prototype nearest for most real images, too; so it must also be nearer, against the own
one, than it is to almost all real unseen images of the class.
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
        min_share: the share of fold classifiers that find the own prototype nearest, with which an image passes.
        quantile: the share of real images that may lie further towards another prototype than an image that passes
            with fewer.
    """

    min_share: Annotated[float, Field(ge=0, le=1)]
    quantile: Annotated[float, Field(ge=0, le=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate is its own class's, bool [N]; a class that no fold classifier saw is not judged."""
    most = reference.usual_detour.lesser(measures.labels, 1 - params.quantile)
    return ~((measures.own_share < params.min_share) & (measures.detour > most))
