"""Refuses near-duplicates of synthetic images let through before: nearer to one than real images are to each other.

They teach nothing new and, being drawn again and again, would be all that a collapsed generator adds. Name it last in
params.yaml: an image that a later check refuses would else stand in the way of those like it.
"""

from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.gate import Measures, Reference
from pipeline.gate._nearest import distances, is_within, nearest
from pipeline.params import section


@section
class Params:
    """Options of the check: the quantile of real images' distances to their nearest that is the limit of the class."""

    quantile: Annotated[float, Field(ge=0, le=1)]


def passes(measures: Measures, reference: Reference, params: Params) -> npt.NDArray[np.bool_]:
    """Whether each candidate differs from those of its class before it, accepted or in this batch, bool [N]."""
    passed = np.ones(len(measures.labels), dtype=np.bool_)
    pixel, feature = reference.copy_limits(measures.labels, params.quantile)
    for label in np.unique(measures.labels):
        rows = np.flatnonzero(measures.pending & (measures.labels == label))
        if len(rows):
            passed[rows] = _new(measures, rows, pixel[rows[0]], feature[rows[0]])
    return passed


def _new(measures: Measures, rows: npt.NDArray[np.intp], max_pixel: float, max_feature: float) -> npt.NDArray[np.bool_]:
    """Whether each of the rows, all of one class, is further than that from those before it."""
    candidates, before = measures.pictures.take(rows), measures.accepted
    kept = np.ones(len(rows), dtype=np.bool_)
    if before is not None:
        same = before.labels == measures.labels[rows[0]]
        kept = ~nearest(candidates, before if same.all() else before.take(same)).within(max_pixel, max_feature)
    pixel, feature, moved = distances(candidates)
    near = is_within(pixel, feature, moved, max_pixel, max_feature)
    for place in range(len(rows)):
        kept[place] &= not (near[:place, place] & kept[:place]).any()
    return kept
