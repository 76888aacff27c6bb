"""What an analysis found: in a line each for people, as plain values for machines."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from pipeline.metrics.bias import reference
from pipeline.metrics.bias.analysis import QUANTILES, Cues, Drift
from pipeline.metrics.bias.label_issues import Issues
from pipeline.metrics.bias.learning_curve import Curves, Points
from pipeline.params import section

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Share = Annotated[float, Field(ge=0, le=1)]
UNSEEN = ("file name", "folder", "capture group", "size")
BEHIND = dict.fromkeys(UNSEEN, "; a classifier does not see it, but what else differs with it?")


@section
class Limits:
    """Section `analyze_bias.findings`: what is told must be this unlikely by chance, and this large.

    Attributes:
        alpha: largest p-value, for all tests of a kind together.
        cue: accuracy above chance by which something gives a label away.
        shift: Kolmogorov-Smirnov distance of a property, and change of a class's share.
        shortage: share of its due images, by the reference, that a class lacks.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)]
    cue: Share
    shift: Share
    shortage: Share


@dataclass(frozen=True)
class Found:
    """All that was found.

    Attributes:
        names: of the classes.
        counts: training images of each.
        expected: share of each in reality, if the user gave it.
        quantiles: property -> [1 + C, 5], of all training images and of each class.
        left_out: property -> why it says nothing here.
        newest: drift of the newest batch; None where `no_newest` says why.
        test: how the test images differ from the training images.
        odd: kind -> split -> number of images.
        odd_images: the oddest of each kind; columns kind, split, class, id, path, row.
        issues: labels that look wrong; `doubted` names them: columns class, suggested, score, id, path, row.
        points, curves: what the quick classifier mistakes, by its number of images.
    """

    names: tuple[str, ...]
    counts: Ints
    expected: Floats | None
    quantiles: dict[str, Floats]
    left_out: dict[str, str]
    cues: Cues
    newest: Drift | None
    no_newest: str
    test: Drift | None
    odd: dict[str, dict[str, int]]
    odd_images: pd.DataFrame
    issues: Issues
    doubted: pd.DataFrame
    points: Points
    curves: Curves


def lines(found: Found, limits: Limits) -> list[dict[str, str]]:
    """The findings, each a kind and a text."""
    told = [
        *(("reference", text) for text in _shortages(found, limits)),
        *(("cue", text) for text in _cues(found, limits)),
        *(("drift", text) for text in _share_changes(found, limits)),
        *(("drift", text) for text in _shifts(found.newest, limits, "images of the newest batch", "earlier ones")),
        *(("split", text) for text in _shifts(found.test, limits, "test images", "training images")),
    ]
    for kind, splits in found.odd.items():
        if sum(splits.values()):
            told.append(("odd_images", f"odd images, {kind}: {sum(splits.values())}"))
    if len(found.issues.rows):
        text = f"labels that look wrong: {len(found.issues.rows)} of {found.issues.examined} examined"
        told.append(("label_issues", text))
    return [{"kind": kind, "text": text} for kind, text in told]


def _shortages(found: Found, limits: Limits) -> Iterator[str]:
    if found.expected is not None:
        lacking, p = reference.shortages(found.counts, found.expected)
        for label in np.flatnonzero((lacking >= limits.shortage) & (p <= limits.alpha)):
            yield f"{found.names[label]!r} lacks {lacking[label]:.0%} of its due images by the reference"


def _cues(found: Found, limits: Limits) -> Iterator[str]:
    for name, cue in found.cues.found.items():
        behind = BEHIND.get(name, "")
        if cue.effect >= limits.cue and cue.p <= limits.alpha:
            yield f"{name} gives the label away: {cue.effect:.0%} above chance, p {cue.p:.2g}{behind}"
            continue
        told = np.flatnonzero((cue.class_effect >= limits.cue) & (cue.class_p <= limits.alpha))
        if len(told):
            told = told[np.argsort(-cue.class_effect[told], kind="stable")]
            classes = _some([found.names[label] for label in found.cues.classes[told]])
            effect, p = cue.class_effect[told[0]], cue.class_p[told[0]]
            yield f"{name} gives {classes} away: {effect:.0%} above chance, p {p:.2g}{behind}"


def _some(names: list[str], most: int = 3) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more classes" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more


def _share_changes(found: Found, limits: Limits) -> Iterator[str]:
    shares = None if found.newest is None else found.newest.shares
    if shares is not None:
        for label in np.flatnonzero((np.abs(shares.change) >= limits.shift) & (shares.class_p <= limits.alpha)):
            points = 100 * shares.change[label]
            yield f"{found.names[label]!r} changed its share by {points:+.0f} points with the newest batch"


def _shifts(drift: Drift | None, limits: Limits, what: str, others: str) -> Iterator[str]:
    for name, shift in ({} if drift is None else drift.shifts).items():
        if shift.distance >= limits.shift and shift.p <= limits.alpha:
            yield (
                f"{what} differ from {others} in {name}: median {shift.after:.3g} instead of {shift.before:.3g}, "
                f"KS distance {shift.distance:.2f} within classes, p {shift.p:.2g}"
            )


def compact(found: Found, limits: Limits) -> dict[str, Any]:
    """A few numbers of each kind, and the findings."""
    skipped = found.issues.skipped
    return {
        "findings": lines(found, limits),
        "reference": _reference(found),
        "properties": {name: _round(table[0, 2]) for name, table in found.quantiles.items()},
        "cues": {name: {"effect": _round(cue.effect), "p": _round(cue.p)} for name, cue in found.cues.found.items()},
        "odd_images": {kind: sum(splits.values()) for kind, splits in found.odd.items()},
        "label_issues": {
            "found": len(found.issues.rows),
            "examined": found.issues.examined,
            "classes_not_examined": len(skipped),
        },
        "drift": None if found.newest is None else _drift(found.newest, found.names, brief=True),
        "not_measured": found.left_out
        | found.cues.skipped
        | ({"drift": found.no_newest} if found.newest is None else {}),
    }


def detail(found: Found, limits: Limits) -> dict[str, Any]:
    """Everything but the properties of single images."""
    names = found.names
    sizes = np.asarray(found.counts, dtype=np.float64)
    now, next_one = found.curves.error(sizes), found.curves.error(sizes + 1)
    return compact(found, limits) | {
        "properties": {
            name: {who: _rounded(row) for who, row in zip(("", *names), table, strict=True)}
            for name, table in found.quantiles.items()
        },
        "quantiles": list(QUANTILES),
        "cues": {
            name: {
                "effect": _round(cue.effect),
                "p": _round(cue.p),
                "classes": {
                    names[label]: {"effect": _round(effect), "p": _round(p)}
                    for label, effect, p in zip(found.cues.classes, cue.class_effect, cue.class_p, strict=True)
                },
            }
            for name, cue in found.cues.found.items()
        },
        "odd_images": {"counts": found.odd, "oddest": found.odd_images.drop(columns="row").to_dict("records")},
        "label_issues": {
            "examined": found.issues.examined,
            "classes_not_examined": {names[label]: why for label, why in found.issues.skipped.items()},
            "images": found.doubted.drop(columns="row").to_dict("records"),
        },
        "drift": None if found.newest is None else _drift(found.newest, names, brief=False),
        "test_against_train": None if found.test is None else _drift(found.test, names, brief=False),
        "learning_curves": {
            name: {
                "images": [_round(value) for value in found.points.sizes[label]],
                "errors": _rounded(found.points.errors[label]),
                "scale": _round(found.curves.scale[label]),
                "exponent": _round(found.curves.exponent[label]),
                "error_now": _round(now[label]),
                "gain_of_one_more": _round(now[label] - next_one[label]),
            }
            for label, name in enumerate(names)
        },
    }


def _reference(found: Found) -> dict[str, float | None] | None:
    if found.expected is None:
        return None
    shares = found.counts / found.counts.sum()
    return {
        "total_variation": _round(reference.total_variation(shares, found.expected)),
        "jensen_shannon_bits": _round(reference.jensen_shannon(shares, found.expected)),
        "kullback_leibler_bits": _round(reference.kullback_leibler(shares, found.expected)),
    }


def _drift(drift: Drift, names: tuple[str, ...], *, brief: bool) -> dict[str, Any]:
    shifts = {
        name: {key: _round(value) for key, value in asdict(shift).items()} for name, shift in drift.shifts.items()
    }
    out: dict[str, Any] = {"images": drift.images, "compared_with": drift.compared_with, "properties": shifts}
    if drift.shares is not None:
        out["class_shares"] = {"total_variation": _round(drift.shares.distance), "p": _round(drift.shares.p)}
        if not brief:
            out["class_shares"]["change"] = dict(zip(names, _rounded(drift.shares.change), strict=True))
    return out


def _round(value: float) -> float | None:
    """Six significant digits, enough for anyone and few enough to read; None for what JSON cannot say."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def _rounded(values: Floats) -> list[float | None]:
    return [_round(float(value)) for value in values]
