"""What nearest neighbours tell of synthetic features [M, D] beside real ones [N, D]."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

K_PRECISION = 3  # neighbours that the authors of each measure use
K_DENSITY = 5


class Manifold(NamedTuple):
    """How far synthetic and real images lie where the others lie; NaN where there are too few.

    Attributes:
        precision: share of the synthetic images that lie within reach of a real one.
        recall: share of the real images within reach of a synthetic one.
        density: real images within whose reach a synthetic one lies, over those expected; may exceed 1.
        coverage: share of the real images that have a synthetic one within reach.
        authenticity: share of the synthetic images further from the nearest real one than that is from another.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    authenticity: float


def manifold(real: Floats, synthetic: Floats) -> Manifold:
    """The measures of three papers from one set of distances.

    Improved precision and recall (Kynkäänniemi et al. 2019, eq. 1 and 2), density and coverage (Naeem et al. 2020,
    eq. 3 and 4), authenticity (Alaa et al. 2022, section 4.3).
    """
    if not len(real) or not len(synthetic):
        return Manifold(*[np.nan] * 5)
    of_real, of_synthetic, between = (
        _distances(real, real),
        _distances(synthetic, synthetic),
        _distances(real, synthetic),
    )
    reach, reach_back, near = (
        _reach(of_real, K_PRECISION),
        _reach(of_synthetic, K_PRECISION),
        _reach(of_real, K_DENSITY),
    )
    own = _reach(of_real, 1)
    return Manifold(
        precision=_share((between <= reach[:, None]).any(axis=0), reach),
        recall=_share((between <= reach_back[None]).any(axis=1), reach_back),
        density=_share((between <= near[:, None]).sum(axis=0) / K_DENSITY, near),
        coverage=_share(between.min(axis=1) <= near, near),
        authenticity=_share(between.min(axis=0) > own[between.argmin(axis=0)], own),
    )


def _share(values: npt.ArrayLike, reach: Floats) -> float:
    return float(np.mean(np.asarray(values, dtype=np.float64))) if np.isfinite(reach).all() else float("nan")


def _reach(distances: Floats, k: int) -> Floats:
    """Distance of each image to its k-th nearest other one, [N]; infinite if there are not so many."""
    if len(distances) <= k:
        return np.full(len(distances), np.inf)
    return np.asarray(np.partition(distances, k, axis=1)[:, k])  # the 0th is itself


def _distances(one: Floats, other: Floats) -> Floats:
    squares = (one**2).sum(1)[:, None] + (other**2).sum(1) - 2 * one @ other.T
    if one is other:
        np.fill_diagonal(squares, 0)
    return np.asarray(np.sqrt(np.maximum(squares, 0)))
