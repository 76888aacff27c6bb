"""Charts of what is uneven: properties of each class, cues that give labels away, drift, learning curves."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.report.charts import COLOURS, INK, MUTED, RULE, WARNING, class_ticks, shortened, styled

Floats = npt.NDArray[np.float64]
FEW = 25
MOST_ROWS = 100
HALO = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
UNITS = {
    "brightness": "0 black, 1 white",
    "contrast": "standard deviation of brightness",
    "sharpness": "variance of the Laplacian",
    "colourfulness": "0 grey, 110 extreme",
    "size": "side at the source, pixels",
    "aspect": "width / height at the source",
}


@styled
def properties(quantiles: Mapping[str, Floats], names: Sequence[str]) -> Figure:
    """Each class's images in every property: 5 to 95 % thin, the middle half thick, the median as a dot.

    Args:
        quantiles: property -> [1 + C, 5], of all images first.
        names: of the classes; of very many those that differ most from all are shown.
    """
    chosen = _most_different(quantiles) if len(names) > MOST_ROWS else np.arange(len(names))
    labels = ["all", *(shortened(names[label]) for label in chosen)]
    height = 1.3 + len(labels) * (0.26 if len(labels) <= FEW + 1 else 0.15)
    figure = Figure(
        figsize=((3.0 if len(quantiles) <= 4 else 2.5) * len(quantiles) + 1.2, height), layout="constrained"
    )
    panels = figure.subplots(1, len(quantiles), sharey=True, squeeze=False)[0]
    rows, colours = np.arange(len(labels)), [INK, *[COLOURS["real"]] * len(chosen)]
    for axes, (name, table) in zip(panels, quantiles.items(), strict=True):
        low, quarter, median, three, high = table[[0, *(1 + chosen)]].T
        axes.axvline(median[0], color=RULE, linewidth=1, zorder=0)
        axes.hlines(rows, low, high, color=colours, linewidth=1)
        axes.hlines(rows, quarter, three, color=colours, linewidth=4 if len(labels) <= FEW + 1 else 2.5, alpha=0.55)
        axes.scatter(median, rows, s=16 if len(labels) <= FEW + 1 else 9, color=colours, zorder=3)
        axes.set_title(name)
        axes.set_xlabel(UNITS[name], fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(4, prune="both"))
        axes.grid(axis="x")
    panels[0].set_yticks(rows, labels, fontsize=9 if len(labels) <= FEW + 1 else 6.5)
    panels[0].set_ylim(len(labels) - 0.4, -0.6)
    if len(chosen) < len(names):
        figure.supxlabel(f"{len(chosen)} of {len(names)} classes: those whose medians differ most", fontsize=9)
    return figure


def _most_different(quantiles: Mapping[str, Floats]) -> npt.NDArray[np.int64]:
    """The classes whose medians lie furthest from that of all images, in the order of the classes."""
    away = [np.abs(t[1:, 2] - t[0, 2]) / max(t[0, 3] - t[0, 1], 1e-9) for t in quantiles.values()]
    return np.sort(np.argsort(-np.nan_to_num(np.max(away, axis=0)), kind="stable")[:MOST_ROWS])


@styled
def cues(effects: Mapping[str, tuple[float, float]], by_class: Floats, names: Sequence[str], least: float) -> Figure:
    """How well something that is not the content tells the label, for all classes and for each.

    Args:
        effects: cue -> (effect, p).
        by_class: effects, [cues, C].
        names: of the C classes.
        least: effect from which a cue is told.
    """
    wide = min(16.0, max(7.5, 4.4 + 0.15 * len(names)))
    height = 1.9 + 0.4 * len(effects)
    figure = Figure(figsize=(wide, height), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[3.0, wide - 4.4])
    _bars(left, {name: effect for name, (effect, _) in effects.items()}, least)
    for row, (effect, p) in enumerate(effects.values()):
        _beside(left, effect, row, f"{effect:.2f} (p {p:.2g})", least)
    left.set_title("all classes")
    left.set_xlabel("accuracy above chance")
    image = right.imshow(np.clip(by_class, 0, 1), cmap="Reds", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    right.set_title("each class against the others")
    right.spines[:].set_visible(False)
    right.tick_params(left=False)
    class_ticks(right, names, (wide - 4.4) / len(names))
    figure.colorbar(image, ax=right, fraction=0.03, pad=0.01).outline.set_visible(False)
    return figure


@styled
def drift(
    comparisons: Mapping[str, Mapping[str, tuple[float, float]]], changes: Mapping[str, float] | None, least: float
) -> Figure:
    """How far properties differ between two sets of images, and how the classes' shares changed.

    Args:
        comparisons: what is compared -> property -> (Kolmogorov-Smirnov distance, p).
        changes: class -> change of its share; None where only one batch came.
        least: distance from which a shift is told.
    """
    shown = dict(sorted((changes or {}).items(), key=lambda item: -abs(item[1]))[:FEW])
    stacked = sum(1.1 + 0.3 * len(found) for found in comparisons.values())
    size = (5.0 if comparisons else 0.0) + (5.0 if shown else 0.0), max(stacked, 1.1 + 0.27 * len(shown))
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False)[0] if comparisons and shown else (figure, figure)
    panels = left.subplots(len(comparisons), 1, squeeze=False)[:, 0] if comparisons else []
    for axes, (title, found) in zip(panels, comparisons.items(), strict=True):
        _bars(axes, {name: distance for name, (distance, _) in found.items()}, least)
        for row, (distance, p) in enumerate(found.values()):
            _beside(axes, distance, row, f"{distance:.2f} (p {p:.2g})", least)
        axes.set_title(title)
        axes.set_xlabel("KS distance within classes")
    if shown:
        axes = right.subplots()
        values = 100 * np.array(list(shown.values()))
        axes.barh(np.arange(len(shown)), values, color=COLOURS["real"], height=0.6)
        axes.axvline(0, color=MUTED, linewidth=1)
        axes.set_yticks(np.arange(len(shown)), [shortened(name) for name in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_title("class shares" if len(shown) == len(changes or {}) else f"{len(shown)} largest changes of share")
        axes.set_xlabel("points with the newest batch")
    return figure


def _bars(axes: Axes, values: Mapping[str, float], least: float) -> None:
    """Horizontal bars from 0 to 1, those that reach `least` in the warning's colour."""
    colours = [WARNING if value >= least else COLOURS["real"] for value in values.values()]
    axes.barh(np.arange(len(values)), list(values.values()), color=colours, height=0.55)
    axes.axvline(least, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.set_yticks(np.arange(len(values)), list(values))
    axes.set_ylim(len(values) - 0.5, -0.5)


def _beside(axes: Axes, value: float, row: int, text: str, least: float) -> None:
    """Writes beside a bar's end and the line at `least`, or into the bar where no room is left."""
    inside = value > 0.55
    end = max(value, least) if least <= 0.55 else value
    colour, place, side = ("white", value - 0.02, "right") if inside else (MUTED, end + 0.02, "left")
    axes.text(place, row, text, va="center", ha=side, color=colour, fontsize=8, bbox=None if inside else HALO)
