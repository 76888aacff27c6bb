"""Each kind of measure applied to what a survey found."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.metrics.bias import cues, drift, file_names
from pipeline.metrics.bias.significance import holm
from pipeline.metrics.bias.survey import Survey, evenly

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SHOWN = ("brightness", "contrast", "sharpness", "colourfulness", "size", "aspect")
FINE = 16  # pixels a side from which an image has a border and a sharpness beside its content
MOST_COMPARED = 100_000  # old images, and new ones, that are compared
MIN_COMPARED = 10  # images of a class, old ones and new ones, from which a property can be compared


def without(survey: Survey) -> dict[str, str]:
    """Properties that say nothing here, and why."""
    out = {} if "mean_red" in survey.measured else {"colourfulness": "no image has colour"}
    sizes = survey.column("size", "train")
    if np.isnan(sizes).any():
        return out | dict.fromkeys(("size", "aspect"), "the rows do not hold the size at the source")
    for name, values in (("size", sizes), ("aspect", survey.column("aspect", "train"))):
        if np.ptp(values) == 0:
            out[name] = f"one {name} for all images at the source"
    return out


def shown_properties(survey: Survey) -> tuple[str, ...]:
    """The properties that people look at."""
    left_out = without(survey)
    return tuple(name for name in SHOWN if name not in left_out)


def quantiles(survey: Survey, labels: Ints, num_classes: int) -> dict[str, Floats]:
    """Quantiles of each shown property, [1 + C, 5]: of all training images and of each class (NaN where empty)."""
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=num_classes))
    found = {}
    for name in shown_properties(survey):
        values = survey.column(name, "train")
        parts = [values, *np.split(values[order], ends[:-1])]
        found[name] = np.stack([np.quantile(part, QUANTILES) if len(part) else np.full(5, np.nan) for part in parts])
    return found


@dataclass(frozen=True)
class Cues:
    """What gives the label away.

    Attributes:
        found: cue -> how much; classes as in `classes`.
        classes: those that were tested.
        images: that were looked at.
        skipped: cue -> why it was not tested.
    """

    found: dict[str, cues.Cue]
    classes: Ints
    images: int
    skipped: dict[str, str]


def spurious(survey: Survey, labels: Ints, names: Sequence[str], side: int, params: cues.Params, seed: int) -> Cues:
    """Tests every cue there is."""
    counts = np.bincount(labels, minlength=len(names))
    classes = np.flatnonzero(counts >= params.min_class_images)
    rows = evenly(labels, max(params.max_images, 10 * len(names)), seed)
    rows = rows[np.isin(labels[rows], classes)]
    if len(classes) < 2:
        return Cues({}, classes, 0, {"all": f"fewer than two classes of {params.min_class_images} images"})
    table, given = survey.take(["path", "group", *survey.measured], rows), labels[rows]
    guesses: dict[str, cues.Guess] = {}
    skipped: dict[str, str] = {}
    for cue, columns in _columns(survey, side).items():
        if isinstance(columns, str):
            skipped[cue] = columns
        else:
            guesses[cue] = cues.by_neighbours(table[columns].to_numpy(np.float64))
    for cue, said in _said(table, [names[label] for label in given]).items():
        if len(set(said)) > 1:
            guesses[cue] = cues.by_category(np.unique(said, return_inverse=True)[1])
        else:
            skipped[cue] = "not given" if cue == "capture group" else "the same for all images"
    found = cues.test(guesses, np.searchsorted(classes, given), params.permutations, seed)
    return Cues(found, classes, len(rows), skipped)


def _columns(survey: Survey, side: int) -> dict[str, list[str] | str]:
    """The properties that make up each cue, or why it makes no sense."""
    content = f"in images of less than {FINE} pixels a side it is part of what they show"
    left_out = without(survey)
    sizes = [name for name in ("size", "aspect") if name not in left_out]
    found: dict[str, list[str] | str] = {
        "border": [name for name in survey.measured if name.startswith("border_")] if side >= FINE else content,
        "exposure": ["brightness", "contrast"],
        "sharpness": ["sharpness", "edge"] if side >= FINE else content,
        "size": sizes or left_out["size"],
    }
    if "mean_red" in survey.measured:  # of grey images the mean is the brightness, which exposure has
        found["colour"] = ["mean_red", "mean_green", "mean_blue"]
    return found


def _said(table: pd.DataFrame, class_names: Sequence[str]) -> dict[str, list[str]]:
    """What is said of each image: its file's name, its folder, its capture group; an image without one is its own."""
    paths = list(zip(table["path"], class_names, strict=True))
    groups = [None if pd.isna(group) else str(group) for group in table["group"]]
    alone = all(group is None for group in groups)
    return {
        "file name": [file_names.pattern(path, name) for path, name in paths],
        "folder": [file_names.folder(path, name) for path, name in paths],
        "capture group": [
            ("" if alone else f"without {row}") if group is None else f"in {group}" for row, group in enumerate(groups)
        ],
    }


@dataclass(frozen=True)
class Drift:
    """How some images differ from others; `p` of a shift holds for all properties together."""

    shifts: dict[str, drift.Shift]
    shares: drift.ShareChange | None
    images: int
    compared_with: int


def batch_drift(
    survey: Survey, labels: Ints, num_classes: int, permutations: int, seed: int
) -> tuple[Drift | None, str]:
    """The newest batch of training images against all earlier ones; or why there is nothing to compare."""
    batches = survey.column("batch", "train")
    numbers = np.unique(batches)
    if len(numbers) < 2:
        return None, "all training images came in one batch"
    is_new = batches == numbers[-1]
    rows = np.sort(np.concatenate([_some(np.flatnonzero(~is_new)), _some(np.flatnonzero(is_new))]))
    columns = {name: survey.column(name, "train")[rows] for name in shown_properties(survey)}
    before, after = (np.bincount(labels[chosen], minlength=num_classes) for chosen in (~is_new, is_new))
    shares = drift.share_change(before, after, permutations, seed)
    found = Drift(_shifts(columns, labels[rows], is_new[rows]), shares, int(is_new.sum()), int((~is_new).sum()))
    return found, ""


def split_shift(survey: Survey, labels: Ints, test_labels: Ints) -> Drift | None:
    """The test images against the training images; how often classes occur may differ on purpose."""
    if not len(test_labels):
        return None
    rows = {"train": _some(np.arange(len(labels))), "test": _some(np.arange(len(test_labels)))}
    columns = {
        name: np.concatenate([survey.column(name, split)[chosen] for split, chosen in rows.items()])
        for name in shown_properties(survey)
    }
    compared = np.concatenate([labels[rows["train"]], test_labels[rows["test"]]])
    is_new = np.repeat([False, True], [len(chosen) for chosen in rows.values()])
    return Drift(_shifts(columns, compared, is_new), None, len(test_labels), len(labels))


def _some(rows: Ints) -> Ints:
    """Every n-th row, so that at most `MOST_COMPARED` are left; more tell nothing more."""
    return rows[:: -(-len(rows) // MOST_COMPARED) or 1]


def _shifts(
    columns: dict[str, npt.NDArray[np.float32]], labels: Ints, is_new: npt.NDArray[np.bool_]
) -> dict[str, drift.Shift]:
    found = {}
    for name, values in columns.items():
        shift = drift.shift(values.astype(np.float64), labels, is_new, MIN_COMPARED)
        if shift is not None:
            found[name] = shift
    adjusted = holm(np.array([shift.p for shift in found.values()]))
    return {name: replace(shift, p=float(p)) for (name, shift), p in zip(found.items(), adjusted, strict=True)}
