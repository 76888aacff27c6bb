"""Ship or hold: whether the completed data helped, and whether a class is shown to have paid for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics.bootstrap import Resamples, interval

Floats = NDArray[np.float64]

COMPLETED = "completed"
BASELINES = {"baseline_cross_entropy": "cross-entropy", "baseline_balanced_softmax": "Balanced Softmax"}
ALPHA = 0.05  # error rate of the harm test over all its hypotheses together
POWER = 0.8
ROUNDING = 1e-9  # a loss of exactly max_class_loss is allowed, whatever the float subtraction made of it


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict, its reason in plain English, and what the test split could and could not show.

    Attributes:
        harmed: classes shown to lose more than max_class_loss against at least one baseline.
        cannot_be_judged: classes with fewer than min_test_images test images.
        detectable: class -> by how much a loss must exceed max_class_loss to be found with 80 % power, in [0, 1];
            the worse of the two baselines.
    """

    verdict: Literal["ship", "hold"]
    reason: str
    harmed: tuple[str, ...]
    cannot_be_judged: tuple[str, ...]
    detectable: dict[str, float]


def decide(resamples: Resamples, class_names: Sequence[str], *, max_class_loss: float, min_test_images: int) -> Verdict:
    """Ship if the completed arm beats both baselines and no class is shown to lose more than is allowed.

    Args:
        resamples: of the arms `completed`, `baseline_cross_entropy` and `baseline_balanced_softmax`.
        class_names: [C].
        max_class_loss: allowed loss of recall of a class, in [0, 1].
        min_test_images: a class with fewer is not judged.

    Raises:
        UserError: too few resamples for the smallest possible p-value to pass Holm's first step.
    """
    judgeable = resamples.num_images >= min_test_images
    num_hypotheses = count_hypotheses(resamples, min_test_images)
    _check_num_resamples(len(resamples.macro_f1[COMPLETED]), num_hypotheses)
    harmed = _harmed(resamples, judgeable, max_class_loss)
    detectable = np.max([smallest_detectable(resamples, COMPLETED, b, num_hypotheses) for b in BASELINES], axis=0)

    names = [class_names[index] for index in resamples.classes]
    tested = set(resamples.classes[judgeable].tolist())
    unjudged = tuple(name for index, name in enumerate(class_names) if index not in tested)
    gains = {baseline: interval(resamples.gain(COMPLETED, baseline)) for baseline in BASELINES}
    helped = all(low > 0 for low, _ in gains.values())
    reason = _gain_clause(resamples, gains)
    if harmed:
        reason += _harm_clause(resamples, names, harmed, max_class_loss)
    elif helped and judgeable.any():
        reason += f"; no class is shown to lose more than {100 * max_class_loss:g} points"
    elif helped:
        reason += "; no class has enough test images to judge its loss"
    return Verdict(
        verdict="ship" if helped and not harmed else "hold",
        reason=reason + "." + _unjudged_sentence(unjudged, min_test_images),
        harmed=tuple(names[k] for k in harmed),
        cannot_be_judged=unjudged,
        detectable=dict(zip(names, detectable.tolist(), strict=True)),
    )


def count_hypotheses(resamples: Resamples, min_test_images: int) -> int:
    """Count the (judgeable class, baseline) pairs."""
    return len(BASELINES) * int(np.sum(resamples.num_images >= min_test_images))


def loss_p_values(losses: Floats, max_class_loss: float) -> Floats:
    """One-sided p-values [baselines, K] of "loses at most max_class_loss" from resampled losses [baselines, B, K].

    At least 1 / (B + 1): the observed data count as one more resample (Davison and Hinkley 1997, section 4.2).
    """
    allowed = np.sum(losses <= max_class_loss + ROUNDING, axis=1)
    p_values: Floats = (1 + allowed) / (losses.shape[1] + 1)
    return p_values


def holm(p_values: Floats, alpha: float = ALPHA) -> NDArray[np.bool_]:
    """Which of m hypotheses are rejected at familywise error alpha (Holm 1979, step-down)."""
    order = np.argsort(p_values, kind="stable")
    passed = p_values[order] <= alpha / np.arange(len(p_values), 0, -1)
    rejected = np.empty(len(p_values), dtype=np.bool_)
    rejected[order] = np.logical_and.accumulate(passed)
    return rejected


def smallest_detectable(resamples: Resamples, arm: str, over: str, num_hypotheses: int) -> Floats:
    """Difference in recall [K] found with 80 % power at level alpha / num_hypotheses, one-sided.

    Where all images agree the bootstrap sees no spread at all, which is no proof of precision: the standard error is
    taken to be at least 1 / n, its value had one of the n images differed.
    """
    normal = NormalDist()
    quantiles = normal.inv_cdf(1 - ALPHA / max(num_hypotheses, 1)) + normal.inv_cdf(POWER)
    standard_error = np.maximum(resamples.class_gain(arm, over).std(axis=0, ddof=1), 1 / resamples.num_images)
    detectable: Floats = quantiles * standard_error
    return detectable


def _check_num_resamples(num_resamples: int, num_hypotheses: int) -> None:
    needed = round(num_hypotheses / ALPHA)
    if num_resamples <= needed:
        raise UserError(
            f"params.yaml: evaluate.num_resamples must be > {needed} to test {num_hypotheses} (class, baseline) pairs "
            f"at {ALPHA:g} together, got {num_resamples}"
        )


def _harmed(resamples: Resamples, judgeable: NDArray[np.bool_], max_class_loss: float) -> dict[int, str]:
    """Column k of each class shown to lose too much -> the baseline that shows it, the worse one where both do."""
    losses = np.stack([-resamples.class_gain(COMPLETED, baseline)[:, judgeable] for baseline in BASELINES])
    rejected = holm(loss_p_values(losses, max_class_loss).ravel()).reshape(losses.shape[0], losses.shape[2])
    harmed: dict[int, str] = {}
    for column, k in enumerate(np.flatnonzero(judgeable).tolist()):
        gains = {
            baseline: resamples.observed_class_gain(COMPLETED, baseline)[k]
            for baseline, shown in zip(BASELINES, rejected[:, column], strict=True)
            if shown
        }
        if gains:
            harmed[k] = min(gains, key=lambda baseline: float(gains[baseline]))
    return harmed


def _gain_clause(resamples: Resamples, gains: dict[str, tuple[float, float]]) -> str:
    means = {baseline: float(resamples.observed_class_gain(COMPLETED, baseline).mean()) for baseline in BASELINES}
    missed = [baseline for baseline in BASELINES if gains[baseline][0] <= 0]
    if missed:
        figures = [f"{BASELINES[b]}: {_points(means[b])} points {_bounds(gains[b])}" for b in missed]
        worse = [BASELINES[b] for b in missed if gains[b][1] < 0]
        tail = f"; shown to be worse than {' and '.join(worse)}" if worse else ""
        return "Not shown to beat " + ", nor ".join(figures) + tail
    units = dict(zip(BASELINES, (" points", ""), strict=True))
    beaten = [f"{_points(means[b])}{units[b]} over {name} {_bounds(gains[b])}" for b, name in BASELINES.items()]
    return "Completed beats both baselines: " + ", ".join(beaten)


def _harm_clause(resamples: Resamples, names: Sequence[str], harmed: dict[int, str], max_class_loss: float) -> str:
    figures = []
    for k, baseline in harmed.items():
        gain = float(resamples.observed_class_gain(COMPLETED, baseline)[k])
        bounds = interval(resamples.class_gain(COMPLETED, baseline)[:, k])
        figures.append(f"{names[k]!r} ({_points(gain)} against {BASELINES[baseline]} {_bounds(bounds)})")
    subject = "1 class is" if len(harmed) == 1 else f"{len(harmed)} classes are"
    return f"; {subject} shown to lose more than {100 * max_class_loss:g} points: {_listed(figures)}"


def _unjudged_sentence(unjudged: Sequence[str], min_test_images: int) -> str:
    if not unjudged:
        return ""
    return f" Cannot be judged, with fewer than {min_test_images} test images: {_listed([repr(n) for n in unjudged])}."


def _listed(items: Sequence[str], most: int = 5) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _points(share: float) -> str:
    return f"{_decimal(share):+}"


def _bounds(bounds: tuple[float, float]) -> str:
    return f"[{_decimal(bounds[0])}, {_decimal(bounds[1])}]"


def _decimal(share: float) -> float:
    """Share in percentage points to one decimal, or to as many as keep a figure other than 0 from becoming 0."""
    points = 100 * round(share, 6)  # as the metrics hold it, so that sentence and report round alike
    return next((round(points, digits) for digits in (1, 2, 3, 4) if round(points, digits)), 0.0)
