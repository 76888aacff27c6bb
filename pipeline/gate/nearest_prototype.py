"""Refuses images that look more like another class: its prototype is the nearest for too many fold classifiers."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.gate import Measures, Reference
from pipeline.params import section


@section
class Params:
    """Options of the check: the least share of fold classifiers that must find the own prototype nearest."""

    min_share: Annotated[float, Field(ge=0, le=1)]


def passes(measures: Measures, _: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate is its own class's, bool [N]; a class that no fold classifier saw is not judged."""
    return ~(measures.own_share < params.min_share)
