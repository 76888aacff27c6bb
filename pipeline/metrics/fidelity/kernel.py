"""Kernel distance: squared maximum mean discrepancy under a polynomial kernel (Bińkowski et al. 2018).

Unbiased (Gretton et al. 2012, eq. 3): 0 on average for equal distributions whatever the number of images, so that it
may come out below 0. That is what the Fréchet distance lacks where images are few.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Kernels(NamedTuple):
    """Kernel values: real with real [N, N], synthetic with synthetic [M, M], without those with themselves; [N, M]."""

    real: Floats
    synthetic: Floats
    mixed: Floats


def kernels(real: Floats, synthetic: Floats) -> Kernels:
    """(x . y / D + 1)^3 for features [N, D] and [M, D] (Bińkowski et al. 2018, section 4)."""

    def values(one: Floats, other: Floats) -> Floats:
        return np.asarray((one @ other.T / one.shape[1] + 1) ** 3)

    of_real, of_synthetic = values(real, real), values(synthetic, synthetic)
    np.fill_diagonal(of_real, 0)
    np.fill_diagonal(of_synthetic, 0)
    return Kernels(of_real, of_synthetic, values(real, synthetic))


def distance(given: Kernels, real: Floats | None = None, synthetic: Floats | None = None) -> Floats:
    """The squared discrepancy, [B]; NaN where fewer than two images of a kind are left.

    Args:
        real, synthetic: how often each image counts in each of B resamples, [B, N] and [B, M]; once each by default.
            An image drawn twice makes no pair with itself, else resampling would make the distance larger.
    """
    real = np.ones((1, len(given.real))) if real is None else real
    synthetic = np.ones((1, len(given.synthetic))) if synthetic is None else synthetic
    crossed = ((real @ given.mixed) * synthetic).sum(1) / (real.sum(1) * synthetic.sum(1))
    return np.asarray(_within(given.real, real) + _within(given.synthetic, synthetic) - 2 * crossed)


def _within(values: Floats, counts: Floats) -> Floats:
    pairs = counts.sum(1) ** 2 - (counts**2).sum(1)
    total = ((counts @ values) * counts).sum(1)
    return np.asarray(np.divide(total, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
