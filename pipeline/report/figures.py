"""The page's charts, made of the marks in `svg`."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
from markupsafe import Markup

from pipeline.metrics.arms import BASELINE
from pipeline.report import format as form
from pipeline.report import svg
from pipeline.report.arms import ClassRow, baseline_gains, figure

HEAT_COLOUR = (31, 119, 211)  # blue, green, red: the page's orange


@dataclass(frozen=True)
class Row:
    """A chart's row: its name, its figures in words, its drawing."""

    name: str
    text: str
    drawing: Markup


@dataclass(frozen=True)
class Chart:
    """Rows that share an axis."""

    rows: list[Row]
    axis: Markup


def gains(entries: Mapping[str, Any], bounds: str = "ci95") -> Chart:
    """The gains of an arm in balanced accuracy over each baseline, with a line at zero.

    Args:
        bounds: key of the intervals; "interval" has those that the verdict rests on.
    """
    titles = baseline_gains(entries)
    found = {over: figure(entries[over]["balanced_accuracy"], bounds) for over in titles}
    scale = svg.scale_over([0.0, *(bound for gain in found.values() for bound in gain.ci95)])
    rows = []
    for over, gain in found.items():
        mark = svg.Mark("shown" if gain.ci95[0] > 0 else "unshown", gain.mean, *gain.ci95)
        text = f"{form.points(gain.mean)} [{form.points_interval(gain.ci95)}]"
        rows.append(Row(f"over {titles[over]}", text, svg.intervals(scale, [mark], gap=18, zero=True)))
    return Chart(rows, svg.axis(scale, lambda value: "0" if value == 0 else f"{100 * value:+g}".replace("-", "−")))


def recall(rows: Sequence[ClassRow]) -> Chart:
    """Recall of the arms, class by class."""
    scale = svg.scale_over([1.0, *_bounds(rows)])
    drawn = [
        Row(
            row.name, form.count(row.real), svg.intervals(scale, _marks(row)) if row.recall else Markup("no test image")
        )
        for row in rows
    ]
    return Chart(drawn, svg.axis(scale, lambda value: f"{100 * value:g} %"))


def compact_recall(rows: Sequence[ClassRow]) -> Markup:
    """Recall of the arms, one narrow column a class."""
    groups = [(f"{row.name}: {row.real} real images", _marks(row)) for row in rows]
    return svg.upright_intervals(svg.scale_over([1.0, *_bounds(rows)]), groups)


def histogram(rows: Sequence[ClassRow]) -> list[tuple[ClassRow, Markup, Markup]]:
    """(class, its bar before, its bar after), all to one scale."""
    top = max(row.real + row.added for row in rows)
    return [(row, svg.bar(_stack(row)[:1], top), svg.bar(_stack(row), top)) for row in rows]


def compact_histogram(rows: Sequence[ClassRow]) -> tuple[Markup, Markup]:
    """The histogram before and after, one thin column a class, both to one scale."""
    top = max(row.real + row.added for row in rows)
    before = [(f"{row.name}: {row.real}", _stack(row)[:1]) for row in rows]
    after = [(f"{row.name}: {row.real} + {row.augmented} + {row.synthetic}", _stack(row)) for row in rows]
    return svg.columns(before, top), svg.columns(after, top)


def generator_curve(table: pd.DataFrame) -> tuple[list[str], Markup]:
    """Names of the players, and the loss of each."""
    players = list(dict.fromkeys(table["player"]))
    curves = [
        (f"player-{number % 4}", _points(table[table["player"] == player])) for number, player in enumerate(players)
    ]
    return players, svg.lines(curves) if curves else Markup("")


def classifier_curves(tables: Mapping[str, pd.DataFrame]) -> Markup:
    """Mean loss over the seeds of each arm; `tables` are the curves of baseline, augmented and completed."""
    curves = []
    for stage, table in tables.items():
        losses = table["classifier"].str.partition("/")[0]
        for loss in dict.fromkeys(losses):
            arm = f"{BASELINE}{loss}" if stage == "baseline" else stage
            mean = table[losses == loss].groupby("step", as_index=False)["loss"].mean()
            if len(mean):
                curves.append((arm, _points(mean)))
    return svg.lines(curves) if curves else Markup("")


def heat_map(shares: npt.NDArray[np.float64]) -> str:
    """Shares [C, C] as a PNG data URI, a pixel a cell; the opacity is the root of the share."""
    pixels = np.empty((*shares.shape, 4), dtype=np.uint8)
    pixels[..., :3] = HEAT_COLOUR
    pixels[..., 3] = np.rint(255 * np.sqrt(np.clip(shares, 0, 1)))
    written, data = cv2.imencode(".png", pixels)
    assert written, "cv2 could not encode a PNG"
    return "data:image/png;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _marks(row: ClassRow) -> list[svg.Mark]:
    return [svg.Mark(arm, entry.mean, *entry.ci95) for arm, entry in row.recall.items()]


def _bounds(rows: Sequence[ClassRow]) -> list[float]:
    return [bound for row in rows for entry in row.recall.values() for bound in entry.ci95]


def _stack(row: ClassRow) -> list[tuple[str, float]]:
    return [("real", row.real), ("augmented", row.augmented), ("synthetic", row.synthetic)]


def _points(table: pd.DataFrame) -> list[tuple[float, float]]:
    return [(float(step), float(loss)) for step, loss in zip(table["step"], table["loss"], strict=True)]
