"""Refuses images nearer to or further from their class's prototype than real unseen images usually are.

Further: of no class or of another. Nearer: more typical than real images are, as the mean of a class would be.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from pipeline.gate import Measures, Reference
from pipeline.params import section


@section
class Params:
    """Options of the check: quantiles of the real images' out-of-fold distances that are the limits."""

    lower: Annotated[float, Field(ge=0, lt=1)]
    upper: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _in_order(self) -> "Params":
        if self.lower >= self.upper:
            raise ValueError(
                f"params.yaml: synthesize.gate.prototype_distance.lower must be less than upper, got {self.lower} and "
                f"{self.upper}"
            )
        return self


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate lies within the limits of its class, bool [N]; one that cannot be judged passes."""
    low, high = (reference.usual_distance.limits(measures.labels, share) for share in (params.lower, params.upper))
    return ~((measures.distance < low) | (measures.distance > high))
