"""Marks of inline SVG. Positions are per cent of the width: a chart fits any screen and its text keeps its size.

A mark's colour is the CSS variable `--c` that the class of its arm or origin sets, so that it suits light and dark.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

LINE = Markup('<line class="grid" x1="0" x2="100%" y1="{}" y2="{}"/>')
UPRIGHT = Markup('<line class="{}" x1="{}%" x2="{}%" y1="0" y2="{}"/>')
INTERVAL = Markup('<g class="mark {}"><line x1="{}%" x2="{}%" y1="{}" y2="{}"/><circle cx="{}%" cy="{}" r="{}"/></g>')
BOX = Markup('<rect class="fill {}" x="{}%" y="{}" width="{}%" height="{}"/>')
CURVE = Markup('<polyline class="curve {}" points="{}"/>')
TITLED = Markup("<g><title>{}</title>{}</g>")
LABEL = Markup('<text x="{}%" y="{}" text-anchor="{}">{}</text>')
LABEL_OVER_LINE = Markup('<text class="halo" x="0" y="{}">{}</text>')
STRETCHED = Markup('<svg width="100%" height="{}" viewBox="0 0 100 {}" preserveAspectRatio="none">{}</svg>')
DRAWING = Markup('<svg width="100%" height="{}" aria-hidden="true" focusable="false">{}</svg>')

EDGE = 2.0  # per cent left free at both ends, for marks and labels at the ends of the scale


@dataclass(frozen=True)
class Mark:
    """A figure with its interval; `css` is the class that colours it."""

    css: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Scale:
    """Maps `low`..`high` to `EDGE`..100 - `EDGE` per cent."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Per cent of the width; values outside the scale are drawn at its ends."""
        share = (value - self.low) / (self.high - self.low)
        return round(EDGE + (100 - 2 * EDGE) * min(max(share, 0.0), 1.0), 3)

    def ticks(self, most: int = 5) -> list[float]:
        """Round values inside the scale, at most `most` + 1 of them."""
        step = nice_step(self.high - self.low, most)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(number * step, 10) + 0.0 for number in range(first, last + 1)]


def nice_step(span: float, most: int) -> float:
    """The smallest of 1, 2, 5 times a power of ten that cuts `span` into at most `most` pieces."""
    assert span > 0, f"a scale must span something, got {span}"
    power = 10.0 ** math.floor(math.log10(span / most))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power * most >= span * (1 - 1e-9))


def scale_over(values: Sequence[float], most: int = 5) -> Scale:
    """The scale that starts and ends on a round value and holds all `values`."""
    low, high = min(values), max(values)
    if high - low < 1e-12:
        low, high = low - 0.01, high + 0.01
    step = nice_step(high - low, most)
    return Scale(math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step)


def intervals(scale: Scale, marks: Sequence[Mark], *, gap: float = 9, zero: bool = False) -> Markup:
    """Marks under each other, each a dot on its interval, over faint lines at the scale's ticks."""
    height = gap * (len(marks) + 1)
    parts = [_upright(scale(tick), height, "grid") for tick in scale.ticks()]
    if zero:
        parts.append(_upright(scale(0), height, "zero"))
    for place, mark in enumerate(marks, start=1):
        y = gap * place
        low, mean, high = scale(mark.low), scale(mark.mean), scale(mark.high)
        parts.append(INTERVAL.format(mark.css, low, high, y, y, mean, y, 3.5 if gap < 12 else 5.5))
    return _drawing(height, parts)


def axis(scale: Scale, form: Callable[[float], str]) -> Markup:
    """The scale's tick labels."""
    places = [(scale(tick), form(tick)) for tick in scale.ticks()]
    return _drawing(18, [LABEL.format(x, 13, _anchor(x), text) for x, text in places])


def bar(parts: Sequence[tuple[str, float]], top: float, height: int = 14) -> Markup:
    """One bar of stacked (css, value) parts; `top` is the value that fills the width."""
    drawn, start = [], 0.0
    for css, value in parts:
        if value > 0:
            drawn.append(BOX.format(css, _share(start, top), 0, _share(value, top), height))
        start += value
    return _drawing(height, drawn)


def columns(stacks: Sequence[tuple[str, Sequence[tuple[str, float]]]], top: float, height: int = 140) -> Markup:
    """Thin upright bars of (name, stacked parts), for many classes; a name shows on hovering."""
    width = 100 / max(len(stacks), 1)
    drawn = []
    for place, (name, parts) in enumerate(stacks):
        boxes, base = [], float(height)
        for css, value in parts:
            tall = round(height * value / top, 2) if top else 0.0
            base -= tall
            if tall:
                boxes.append(BOX.format(css, round(place * width, 3), round(base, 2), round(width * 0.8, 3), tall))
        drawn.append(TITLED.format(name, Markup("").join(boxes)))
    return _drawing(height, drawn)


def upright_intervals(scale: Scale, groups: Sequence[tuple[str, Sequence[Mark]]], height: int = 260) -> Markup:
    """Marks of many classes side by side, (name, marks) each; ticks are written at the left, over their lines."""
    ticks = [(_down(scale, tick, height), f"{100 * tick:g} %") for tick in scale.ticks()]
    drawn = [LINE.format(y, y) for y, _ in ticks]
    for place, (name, marks) in enumerate(groups):
        parts = []
        for number, mark in enumerate(marks, start=1):
            x = round((place + number / (len(marks) + 1)) * 100 / len(groups), 3)
            low, mean, high = (_down(scale, value, height) for value in (mark.low, mark.mean, mark.high))
            parts.append(INTERVAL.format(f"thin {mark.css}", x, x, low, high, x, mean, 2))
        drawn.append(TITLED.format(name, Markup("").join(parts)))
    return _drawing(height, drawn + [LABEL_OVER_LINE.format(round(y - 4, 2), text) for y, text in ticks])


def lines(curves: Sequence[tuple[str, Sequence[tuple[float, float]]]], height: int = 220) -> Markup:
    """Curves of (css, points); values over several decades go by their logarithm.

    The values' ticks are written over their lines, the steps' below.
    """
    ys = [y for _, curve in curves for _, y in curve]
    by_log = min(ys) > 0 and max(ys) / min(ys) > 100
    form: Callable[[float], float] = math.log10 if by_log else float
    values = scale_over([form(y) for y in ys], most=4 if by_log else 5)
    steps = Scale(0.0, max(x for _, curve in curves for x, _ in curve))
    drawn, labels = [], []
    for tick in values.ticks():
        y = _down(values, tick, height)
        drawn.append(LINE.format(y, y))
        text = _plain(float(f"{10**tick:.1g}") if by_log else tick)
        labels.append(LABEL_OVER_LINE.format(round(y - 4, 2), text))
    for css, curve in curves:
        drawn.append(CURVE.format(css, " ".join(f"{steps(x):g},{_down(values, form(y), height):g}" for x, y in curve)))
    places = [(steps(tick), _plain(tick)) for tick in steps.ticks()]
    labels += [LABEL.format(x, height + 16, _anchor(x), text) for x, text in places]
    return _drawing(height + 22, [STRETCHED.format(height, height, Markup("").join(drawn)), *labels])


def _drawing(height: float, parts: Sequence[Markup]) -> Markup:
    return DRAWING.format(f"{height:g}", Markup("").join(parts))


def _upright(x: float, height: float, css: str) -> Markup:
    return UPRIGHT.format(css, x, x, f"{height:g}")


def _down(scale: Scale, value: float, height: int) -> float:
    """Pixels from the top, with room for a label over the highest tick."""
    share = min(max((value - scale.low) / (scale.high - scale.low), 0.0), 1.0)
    return round(18 + (height - 20) * (1 - share), 2)


def _anchor(x: float) -> str:
    """Keeps the labels at both ends inside the drawing."""
    return "start" if x < 6 else "end" if x > 94 else "middle"


def _share(value: float, top: float) -> float:
    return round(100 * value / top, 3) if top else 0.0


def _plain(value: float) -> str:
    return f"{value:,g}".replace("-", "−")
