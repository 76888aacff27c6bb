"""Refuses images unlike any real one: the nearest is further away in pixels than a new real image's nearest usually is.

A classifier has to take noise for some class, and may do so as surely as it takes images.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.gate import Measures, Reference
from pipeline.gate._usual import ANY
from pipeline.params import section


@section
class Params:
    """Options of the check: the quantile of the distances between nearest real images that is the limit."""

    quantile: Annotated[float, Field(gt=0, le=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate is near enough to some real training image, bool [N]."""
    most = reference.usual_pixel.quantile(ANY, params.quantile)
    return np.asarray(~(measures.copied.pixel > most))
