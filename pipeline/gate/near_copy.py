"""Refuses copies of training images: nearer to one than real images are to each other (memorisation).

Nearer in pixels *and* in features: two real images may be alike in the one. Moved by a pixel or mirrored, pixels decide
alone, for features move as well.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.gate import Measures, Reference
from pipeline.params import section


@section
class Params:
    """Options of the check: the quantile of real images' distances to their nearest that is the limit of the class."""

    quantile: Annotated[float, Field(ge=0, le=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate is far enough from every real training image, bool [N]."""
    return ~measures.copied.within(*reference.copy_limits(measures.labels, params.quantile))
