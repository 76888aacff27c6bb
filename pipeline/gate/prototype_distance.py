"""Refuses images further from their class's prototype than real unseen images usually are."""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.gate import Measures, Reference
from pipeline.params import section


@section
class Params:
    """Options of the check: the quantile of the real images' out-of-fold distances that is the limit."""

    quantile: Annotated[float, Field(gt=0, le=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate lies within the limit of its class, bool [N]."""
    limits = {label: reference.usual_distance(int(label), params.quantile) for label in np.unique(measures.labels)}
    limit = np.array([limits[label] for label in measures.labels])
    return np.asarray(measures.distance <= limit)
