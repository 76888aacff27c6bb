"""Charts as files; equal data give equal files. Here: the class histogram, and what all charts have in common."""

import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = {"real": "#35618e", "augmented": "#7fb069", "synthetic": "#e08e45"}
INK, MUTED, RULE, WARNING = "#1d2327", "#59636b", "#d9d6cf", "#b3372f"
STYLE: Any = {
    "text.parse_math": False,  # "$" in a class's name is no formula
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#eceae5",
    "legend.frameon": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "text.color": INK,
    "svg.fonttype": "none",
}
MAX_LABELS = 120
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draws with the look that all charts share."""

    @wraps(draw)
    def inner(*args: P.args, **options: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **options)

    return inner


@styled
def histogram(table: pd.DataFrame) -> Figure:
    """Training images of each class, and those that are planned on top; many classes go by their size.

    Args:
        table: columns class, train, augment, synthesize; due, where a reference says how many a class should have.
    """
    if len(table) > 20:
        table = table.sort_values("train", ascending=False, kind="stable")
    names = [str(name) for name in table["class"]]
    wide = min(16.0, max(6.0, 0.8 + max(0.45, min(1.0, _width(names))) * len(table)))
    figure = Figure(figsize=(wide, 3.8), layout="constrained")
    axes = figure.subplots()
    places, bottom = np.arange(len(table)), np.zeros(len(table))
    for column, origin in (("train", "real"), ("augment", "augmented"), ("synthesize", "synthetic")):
        values = table[column].to_numpy()
        axes.bar(places, values, bottom=bottom, color=COLOURS[origin], label=origin, width=0.8)
        bottom += values
    if "due" in table:
        axes.hlines(table["due"], places - 0.45, places + 0.45, color=INK, linewidth=1.2, label="due by the reference")
    class_ticks(axes, names, (wide - 0.8) / len(names))
    axes.set_xlim(-0.7, len(table) - 0.3)
    axes.set_ylim(0, 1.04 * max(1.0, bottom.max(), *table.get("due", [])))
    axes.set_ylabel("training images")
    axes.grid(axis="y")
    figure.legend(loc="outside upper left", ncols=4)
    return figure


def class_ticks(axes: Axes, names: Sequence[str], room: float) -> None:
    """Names below the columns, upright where they have no room beside each other; of very many every n-th.

    Args:
        room: inches from one column to the next.
    """
    step = -(-len(names) // MAX_LABELS)
    lying = _width(names) <= room
    axes.set_xticks(
        np.arange(0, len(names), step),
        [shortened(name, 24 if lying else 16) for name in names[::step]],
        rotation=0 if lying else 90,
        fontsize=9 if len(names) <= 40 else 6.5,
    )


def _width(names: Sequence[str]) -> float:
    """Inches that the longest of the names takes in letters of 9 points, and the space to the next."""
    return 0.15 + 0.078 * max(map(len, names))


def shortened(name: str, most: int = 24) -> str:
    """A name that fits a chart."""
    return name if len(name) <= most else name[: most - 1] + "…"


def save(figure: Figure, *paths: Path) -> None:
    """Writes a figure as the formats that the paths end in, without dates or random ids."""
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks: boxes, and right in the SVG
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # once is enough: it takes longer than to draw
        for path in paths:
            matplotlib.rcParams["svg.hashsalt"] = path.name
            metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
            figure.savefig(path, dpi=120, metadata=metadata, facecolor="white")
