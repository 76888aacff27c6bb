"""Charts of learning curves: what more images of a class are expected to give."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from pipeline.metrics.bias.learning_curve import Curves, Points
from pipeline.report.charts import COLOURS, MUTED, RULE, shortened, styled

Floats = npt.NDArray[np.float64]
FEW, COLUMNS = 25, 5
HIGHLIGHTED = 20


@styled
def learning_curves(points: Points, curves: Curves, planned: Floats, names: Sequence[str]) -> Figure:
    """Errors on subsamples and the curve through them, up to what the plan is taken to be worth.

    Of many classes: where each is, and those that the next images help most.

    Args:
        points: what was measured.
        curves: fitted to it.
        planned: real images, and what the added ones are worth in real ones, [C].
        names: of the C classes.
    """
    draw = _every_class if len(names) <= FEW else _many_classes
    return draw(points, curves, planned, names)


def _every_class(points: Points, curves: Curves, planned: Floats, names: Sequence[str]) -> Figure:
    rows = -(-len(names) // COLUMNS)
    figure = Figure(figsize=(2.3 * min(COLUMNS, len(names)), 0.7 + 1.75 * rows), layout="constrained")
    panels = figure.subplots(rows, min(COLUMNS, len(names)), sharex=True, sharey=True, squeeze=False).ravel()
    top = max(float(planned.max()), float(points.images.max())) * 1.3
    sizes = np.geomspace(1, max(top, 2), 60)
    drawn = curves.error(np.tile(sizes, (len(names), 1)))
    for label, (axes, name) in enumerate(zip(panels, names, strict=False)):
        now, then = float(points.images[label]), float(planned[label])
        axes.axvspan(now, max(then, now), color=COLOURS["augmented"], alpha=0.25, linewidth=0)
        axes.axvline(now, color=RULE, linewidth=1)
        axes.plot(sizes, drawn[label], color=COLOURS["real"], linewidth=1.4)
        axes.scatter(points.sizes[label], points.errors[label], s=12, color=COLOURS["synthetic"], zorder=3)
        axes.set_title(f"{shortened(name, 18)}  ({points.images[label]})", fontsize=9)
        _axes(axes)
    for axes in panels[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("training images of the class (band: what the plan is worth)", fontsize=9, color=MUTED)
    figure.supylabel("mistakes of the quick classifier", fontsize=9, color=MUTED)
    return figure


def _many_classes(points: Points, curves: Curves, planned: Floats, names: Sequence[str]) -> Figure:
    counts = points.images.astype(np.float64)
    now, after = curves.error(counts), curves.error(planned)
    gain = 100 * (now - curves.error(counts + 1))
    figure = Figure(figsize=(12.0, 5.6), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[1.5, 1])
    left.vlines(
        counts, after, now, color=COLOURS["augmented"], linewidth=1.2, alpha=0.8, label="what the plan may give"
    )
    left.scatter(counts, now, s=16, color=COLOURS["real"], label="now", zorder=3)
    _axes(left)
    left.set_xlim(max(0.8, counts.min() * 0.8), counts.max() * 1.25)
    left.set_title("every class: expected mistakes of the quick classifier")
    left.set_xlabel("training images of the class")
    left.legend(loc="lower left")
    best = np.argsort(-gain, kind="stable")[:HIGHLIGHTED]
    places = np.arange(len(best))
    right.barh(places, gain[best], color=COLOURS["real"], height=0.6)
    right.set_yticks(places, [f"{shortened(names[label])}  ({points.images[label]})" for label in best], fontsize=8)
    right.set_ylim(len(best) - 0.4, -0.6)
    right.set_title("what one more real image is expected to give")
    right.set_xlabel("points of the class's recall")
    right.grid(axis="x")
    return figure


def _axes(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.grid()
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k" if value >= 1000 else f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
