"""All charts of the bias analysis, written to a folder."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from pipeline.dataset import Dataset
from pipeline.metrics.bias.findings import Found, Limits
from pipeline.metrics.bias.survey import pictures
from pipeline.report import charts, charts_bias, charts_curves, charts_images

SHOWN = 32  # images on a sheet
Ints = npt.NDArray[np.int64]


def write(
    folder: Path,
    found: Found,
    limits: Limits,
    data: Mapping[str, Dataset],
    table: pd.DataFrame,
    planned: npt.NDArray[np.float64],
) -> None:
    """Writes each chart as PNG and SVG, the sheets of images as PNG.

    Args:
        folder: where to.
        found: what was found.
        limits: from what on it is told.
        data: the splits, in the order in which rows are numbered.
        table: the histogram with the plan.
        planned: real images of each class, and what the planned ones are worth in real ones.
    """
    drawn = {
        "histogram": charts.histogram(table),
        "properties": charts_bias.properties(found.quantiles, found.names),
        "learning_curves": charts_curves.learning_curves(found.points, found.curves, planned, found.names),
    }
    if found.cues.found:
        effects = {name: (cue.effect, cue.p) for name, cue in found.cues.found.items()}
        by_class = np.stack([cue.class_effect for cue in found.cues.found.values()])
        drawn["cues"] = charts_bias.cues(effects, by_class, [found.names[c] for c in found.cues.classes], limits.cue)
    drift = _drift(found, limits)
    if drift is not None:
        drawn["drift"] = drift
    for name, figure in drawn.items():
        charts.save(figure, folder / f"{name}.png", folder / f"{name}.svg")
    for name, figure in _sheets(found, data).items():
        charts.save(figure, folder / f"{name}.png")


def _drift(found: Found, limits: Limits) -> Figure | None:
    compared = {"newest batch against earlier ones": found.newest, "test against training images": found.test}
    shifts = {
        title: {name: (shift.distance, shift.p) for name, shift in drift.shifts.items()}
        for title, drift in compared.items()
        if drift is not None and drift.shifts
    }
    shares = None if found.newest is None else found.newest.shares
    changes = None if shares is None else dict(zip(found.names, shares.change.tolist(), strict=True))
    return charts_bias.drift(shifts, changes, limits.shift) if shifts or changes else None


def _sheets(found: Found, data: Mapping[str, Dataset]) -> dict[str, Figure]:
    sheets = {}
    odd = _some_of_each_kind(found.odd_images)
    if len(odd):
        captions = [(f"{row['kind']} ({row['split']})", str(row["class"])) for _, row in odd.iterrows()]
        images = pictures(data, odd["row"].tolist())
        sheets["odd_images"] = charts_images.sheet("Odd images, the oddest of each kind first", images, captions)
    doubted = found.doubted.head(SHOWN)
    if len(doubted):
        captions = [(f"{row['class']} ({row['score']:.3f})", f"→ {row['suggested']}?") for _, row in doubted.iterrows()]
        images = pictures(data, doubted["row"].tolist())
        sheets["label_issues"] = charts_images.sheet("Labels that look wrong: given → suggested", images, captions)
    return sheets


def _some_of_each_kind(odd: pd.DataFrame) -> pd.DataFrame:
    """The first images of each kind, as many of each as fit a sheet together."""
    each = SHOWN // max(1, odd["kind"].nunique())
    return odd.groupby("kind", sort=False).head(each)
