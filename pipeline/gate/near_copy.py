"""Refuses copies of training images: nearer to one than real images are to each other (memorisation)."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.gate import Measures, Reference
from pipeline.params import section


@section
class Params:
    """Options of the check: the quantile of the distances between nearest real images that is the limit."""

    quantile: Annotated[float, Field(ge=0, le=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate is far enough from every real training image, bool [N]."""
    finite = reference.copy_distance[np.isfinite(reference.copy_distance)]
    limit = float(np.quantile(finite, params.quantile)) if len(finite) else 0.0
    return np.asarray(measures.copy_distance > limit)
