"""Charts; equal data give equal files."""

from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

matplotlib.use("agg")

COLOURS = {"real": "#35618e", "augmented": "#7fb069", "synthetic": "#e08e45"}


def histogram(table: pd.DataFrame) -> Figure:
    """Training images of each class, and those that are planned on top.

    Args:
        table: columns class, train, augment, synthesize.
    """
    figure, axes = plt.subplots(figsize=(max(6.0, 0.45 * len(table)), 3.6), layout="constrained")
    places, bottom = np.arange(len(table)), np.zeros(len(table))
    for column, origin in (("train", "real"), ("augment", "augmented"), ("synthesize", "synthetic")):
        values = table[column].to_numpy()
        axes.bar(places, values, bottom=bottom, color=COLOURS[origin], label=origin, width=0.8)
        bottom += values
    labels, turn = [str(name) for name in table["class"]], 0 if len(table) <= 12 else 90
    axes.set_xticks(places, labels, rotation=turn, parse_math=False)  # "$" in a name is no formula
    axes.set_ylabel("training images")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as the format that `path` ends in, without dates or random ids, and closes it."""
    metadata = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    with matplotlib.rc_context({"svg.hashsalt": path.name, "svg.fonttype": "none"}):
        figure.savefig(path, dpi=120, metadata=metadata)
