"""Images that are unlike what a classifier can learn from: dark, glaring, flat, blurred, or of an odd size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.params import section

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Measured = Mapping[str, npt.NDArray[np.float32]]
Share = Annotated[float, Field(ge=0, le=1)]


@section
class Params:
    """Section `analyze_bias.odd_images`; luma from 0 to 1.

    Attributes:
        dark_below: an image is dark if even its brightest parts are below.
        bright_above: an image is bright if even its darkest parts are above.
        flat_below: an image is flat (near-uniform) if its contrast is below.
        blurred_z: an image is blurred if its strongest edge lies so many robust standard deviations below the usual,
            and is less than half of it.
        size_factor: an image's size or shape is odd if it is so many times larger or smaller than the median.
    """

    dark_below: Share
    bright_above: Share
    flat_below: Share
    blurred_z: Annotated[float, Field(gt=0)]
    size_factor: Annotated[float, Field(gt=1)]


@dataclass(frozen=True)
class Usual:
    """What is usual among the training images; None for what cannot be judged.

    Attributes:
        edge: median and robust standard deviation of `log_edge`.
        size, aspect: medians at the source.
    """

    edge: tuple[float, float] | None
    size: float | None
    aspect: float | None


def centre_and_spread(values: Floats) -> tuple[float, float]:
    """Median, and robust standard deviation (1.4826 times the median absolute deviation)."""
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(values - median)))


def robust_z(values: Floats, median: float, spread: float) -> Floats:
    """Distance from the median in robust standard deviations; 0 where more than half of all are one value."""
    return np.zeros(len(values)) if spread < 1e-12 else (values - median) / spread


def usual(measured: Measured, *, has_edges: bool) -> Usual:
    """What is usual, of properties of the training images; `has_edges`: they are large enough to be blurred."""
    edge = centre_and_spread(log_edge(measured["edge"])) if has_edges else None
    known = {name: values[np.isfinite(values)] for name, values in measured.items() if name in ("size", "aspect")}
    size, aspect = (float(np.median(known[name])) if len(known[name]) else None for name in ("size", "aspect"))
    return Usual(edge, size, aspect)


def log_edge(edge: npt.NDArray[np.float32]) -> Floats:
    """Logarithm of the strongest edge, which spreads evenly to both sides; finite for an image without any."""
    return np.log(edge.astype(np.float64) + 1e-3)


def is_blurred(edge: Floats, median: float, spread: float, blurred_z: float) -> Bools:
    """Whether the strongest edge is far below the usual, bool [N]: improbably, and by half.

    Where all images are much alike, what is improbable may still be quite sharp.
    """
    return np.asarray((robust_z(edge, median, spread) < -blurred_z) & (edge < median - np.log(2)))


def is_far(values: npt.NDArray[np.float32], median: float, factor: float) -> Bools:
    """Whether a value is more than `factor` times the median, or less than so small a part of it; NaN is not."""
    return np.asarray((values > median * factor) | (values < median / factor))


def flags(measured: Measured, ordinary: Usual, params: Params) -> dict[str, Bools]:
    """Which images are odd in which way, bool [N] each; ways that cannot be judged are left out."""
    flat = measured["contrast"] < params.flat_below
    found = {
        "dark": measured["bright_parts"] < params.dark_below,
        "bright": measured["dark_parts"] > params.bright_above,
        "flat": flat,
    }
    if ordinary.edge is not None:
        found["blurred"] = is_blurred(log_edge(measured["edge"]), *ordinary.edge, params.blurred_z) & ~flat
    if ordinary.size is not None:
        found["odd size"] = is_far(measured["size"], ordinary.size, params.size_factor)
    if ordinary.aspect is not None:
        found["odd shape"] = is_far(measured["aspect"], ordinary.aspect, params.size_factor)
    return found


def severity(kind: str, measured: Measured, ordinary: Usual) -> Floats:
    """What orders the images of a kind, [N], the oddest smallest."""
    by = {"dark": "bright_parts", "bright": "dark_parts", "flat": "contrast", "blurred": "edge"}
    if kind in by:
        values = measured[by[kind]].astype(np.float64)
        return -values if kind == "bright" else values
    name, median = ("size", ordinary.size) if kind == "odd size" else ("aspect", ordinary.aspect)
    assert median is not None, f"{kind} is not judged without a median"
    return -np.abs(np.log(measured[name].astype(np.float64) / median))
