"""Charts of one to a hundred and thirty classes: all is inside the picture and no text lies on another."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from pipeline.metrics.bias.learning_curve import Curves, Points
from pipeline.report import charts, charts_all, charts_bias, charts_curves, charts_images

pytestmark = pytest.mark.filterwarnings("ignore:Glyph")  # `save` ignores them too; here nothing is saved
SIZES = (2, 10, 26, 100, 130)


def names(count: int) -> list[str]:
    """Names of all lengths; with signs that mean something elsewhere, and of another script."""
    odd = ["größe M", "5$ $x_{", "猫", "a_b^c", "a rather long name of a class indeed"]
    return [odd[n] if n < len(odd) and count > len(odd) else f"class {n}" for n in range(count)]


def histogram(count: int) -> Figure:
    images = np.linspace(400, 2, count).round()
    table = pd.DataFrame({"class": names(count), "train": images, "augment": images // 3, "synthesize": images // 4})
    return charts.histogram(table.assign(due=200))


def properties(count: int) -> Figure:
    rng = np.random.default_rng(0)
    tables = {name: np.sort(rng.random((count + 1, 5)), axis=1) for name in charts_bias.UNITS}
    tables["sharpness"] *= 90_000
    tables["contrast"][2] = np.nan  # a class without an image
    return charts_bias.properties(tables, names(count))


def cues(count: int) -> Figure:
    effects = {"border": (0.93, 0.005), "colour": (0.56, 0.01), "file name": (0.0, 1.0), "folder": (0.3, 0.25)}
    by_class = np.random.default_rng(0).random((4, count))
    return charts_bias.cues(effects, by_class, names(count), 0.5)


def drift(count: int) -> Figure:
    shifts = {"brightness": (0.99, 1e-12), "contrast": (0.02, 1.0), "colourfulness": (0.4, 0.004)}
    compared = {"newest batch against earlier ones": shifts, "test against training images": shifts}
    return charts_bias.drift(compared, dict(zip(names(count), np.linspace(-0.4, 0.2, count), strict=True)), 0.15)


def curves(count: int) -> Figure:
    images = np.geomspace(3, 5000, count).round().astype(np.int64)
    sizes = images[:, None] * np.array([0.125, 0.25, 0.5, 1.0])
    fitted = Curves(np.linspace(0.5, 1.0, count), np.linspace(0.05, 0.6, count))
    return charts_curves.learning_curves(Points(sizes, fitted.error(sizes), images), fitted, images * 1.5, names(count))


CHARTS = (histogram, properties, cues, drift, curves)


def boxes(figure: Figure) -> dict[str, list[tuple[str, Bbox]]]:
    """Where each text lies, ticks of each axis apart and all others together."""
    groups: dict[str, list[Text]] = {"others": [*figure.texts]}
    ends: list[Text] = []  # of an axis, which the next one's may meet
    for number, axes in enumerate(figure.axes):
        if not axes.get_visible():
            continue
        for which in ("x", "y"):
            low, high = sorted(getattr(axes, f"get_{which}lim")())
            axis = getattr(axes, f"{which}axis")
            shown = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=False)  # inner axes have no labels
            inside = [label for place, label in shown if low <= place <= high]
            groups[f"{which} of axes {number}"] = inside
            if which == "x" and inside:
                ends += [inside[0], inside[-1]]
        groups["others"] += [axes.title, axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    groups["others"] += ends
    return {
        group: [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text() and text.get_visible()]
        for group, texts in groups.items()
    }


@pytest.mark.parametrize("count", SIZES)
@pytest.mark.parametrize("draw", CHARTS)
def test_texts_are_inside_and_apart(draw: Callable[[int], Figure], count: int) -> None:
    figure = draw(count)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    for group, found in boxes(figure).items():
        for text, box in found:
            inside = box.x0 >= -1 and box.y0 >= -1 and box.x1 <= width + 1 and box.y1 <= height + 1
            assert inside, (group, text, box)
        ordered = sorted(found, key=lambda item: (-item[1].y1, item[1].x0)) if group.startswith("y") else found
        neighbours = pairwise(ordered) if group != "others" else ((a, b) for a in found for b in found if a is not b)
        for (text, box), (other, beside) in neighbours:
            apart = not box.padded(-0.5).overlaps(beside.padded(-0.5))
            assert apart, (group, text, other)


@pytest.mark.parametrize("draw", [histogram, cues])
def test_names_of_middling_length_do_not_touch(draw: Callable[[int], Figure], monkeypatch: pytest.MonkeyPatch) -> None:
    given = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    monkeypatch.setitem(globals(), "names", lambda _: given)
    figure = draw(10)
    figure.draw_without_rendering()
    for axes in figure.axes:
        extents = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text() in given]
        assert all(box.x1 < other.x0 for box, other in pairwise(extents))


@pytest.mark.parametrize("count", [100, 130])
def test_very_many_classes_are_thinned_out_and_that_is_said(count: int) -> None:
    labels = [text.get_text() for text in properties(count).axes[0].get_yticklabels()]
    assert len(labels) == min(count, charts_bias.MOST_ROWS) + 1
    said = properties(count).get_supxlabel()
    assert said == ("100 of 130 classes: those whose medians differ most" if count == 130 else "")


def test_the_classes_that_differ_most_are_kept() -> None:
    tables = {"brightness": np.tile(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), (131, 1))}
    tables["brightness"][[6, 121], 2] = 0.9
    chosen = charts_bias._most_different(tables)
    assert len(chosen) == 100
    assert {5, 120} <= set(chosen)


def test_a_sheet_has_room_for_every_kind() -> None:
    odd = pd.DataFrame({"kind": ["dark"] * 40 + ["flat"] * 3, "row": range(43)})
    assert charts_all._some_of_each_kind(odd)["row"].tolist() == [*range(16), 40, 41, 42]
    assert len(charts_all._some_of_each_kind(odd[:40])) == 32


@pytest.mark.parametrize("count", [1, 8, 9])
def test_a_sheet_shows_each_image_with_its_captions(count: int) -> None:
    images = [
        np.full((8, 12, 3), 20 * n, np.uint8) if n % 2 else np.full((300, 9), 20 * n, np.uint8) for n in range(count)
    ]
    figure = charts_images.sheet("Odd images", images, [(f"kind {n}", names(count)[n]) for n in range(count)])
    (axes,) = figure.axes
    assert len(axes.images) == count
    assert [text.get_text() for text in axes.texts][1::2] == [f"kind {n}" for n in range(count)]
    figure.draw_without_rendering()
    _, height = figure.get_size_inches() * figure.dpi
    assert all(0 <= text.get_window_extent().y0 <= height for text in axes.texts)


def test_equal_figures_are_equal_files_without_dates(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        charts.save(cues(10), tmp_path / name / "cues.png", tmp_path / name / "cues.svg")
    for suffix in ("png", "svg"):
        one, two = ((tmp_path / name / f"cues.{suffix}").read_bytes() for name in ("one", "two"))
        assert one == two
        assert b"Date" not in one
        assert b"matplotlib version" not in one.lower()
