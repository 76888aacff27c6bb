"""Sheets of images with a line or two under each."""

from collections.abc import Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure

from pipeline.images import Pixels
from pipeline.report.charts import INK, MUTED, shortened, styled

COLUMNS = 8
TILE = 96  # pixels a side that each image is brought to


@styled
def sheet(title: str, images: Sequence[Pixels], captions: Sequence[tuple[str, str]]) -> Figure:
    """Images in rows of eight, each with a caption of two short lines."""
    rows = max(1, -(-len(images) // COLUMNS))
    figure = Figure(figsize=(11.0, 0.5 + 1.75 * rows))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(1.32 * rows, -0.38)
    axes.text(0.06, -0.14, title, fontsize=11, fontweight="bold", color=INK, va="center")
    for place, (image, (first, second)) in enumerate(zip(images, captions, strict=True)):
        x, y = place % COLUMNS, 1.32 * (place // COLUMNS)
        grey = image.ndim == 2
        shown = _tile(image)
        axes.imshow(
            shown, extent=(x + 0.06, x + 0.94, y + 0.94, y + 0.06), cmap="gray" if grey else None, vmin=0, vmax=255
        )
        axes.text(x + 0.06, y + 1.04, shortened(first, 19), fontsize=8, va="center", color=INK)
        axes.text(x + 0.06, y + 1.17, shortened(second, 19), fontsize=8, va="center", color=MUTED)
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(1.32 * rows, -0.38)
    axes.set_aspect("auto")
    return figure


def _tile(image: Pixels) -> Pixels:
    """The image with its longer side brought to `TILE`, pixels kept sharp where it grows."""
    scale = TILE / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(image, size, interpolation=how), dtype=np.uint8)
