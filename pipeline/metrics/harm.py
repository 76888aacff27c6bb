"""Whether a class is shown to lose more than it may: each alone, and those too small for that together.

The test is a guard and keeps its whole error at every look at the test images: one that grew weaker would let harm
pass, the sooner the more often one looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.metrics.arms import COMPLETED, baselines
from pipeline.metrics.bootstrap import Resamples, Shown, interval

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

ALPHA = 0.05  # error rate over all hypotheses together
POWER = 0.8
ROUNDING = 1e-9  # a loss of exactly max_class_loss is allowed, whatever the float subtraction made of it


@dataclass(frozen=True, eq=False)
class Subject:
    """A class that is judged, or the pool of those too small to be judged alone.

    Attributes:
        classes: its name; of the pool all names.
        columns: [K] which of the tested classes they are.
        is_pool: whether it is the pool, which may be empty.
    """

    classes: tuple[str, ...]
    columns: Mask
    is_pool: bool

    def size_in(self, resamples: Resamples) -> int:
        """Its test images."""
        return int(resamples.num_images[self.columns].sum())


@dataclass(frozen=True, eq=False)
class Finding:
    """What became of a subject.

    Attributes:
        p_values: baseline -> p-value of "loses at most max_class_loss", adjusted by Holm over all subjects.
        against: the baseline that shows harm, the one that shows the largest loss where several do.
    """

    subject: Subject
    p_values: dict[str, float]
    against: str | None


def judged(resamples: Resamples, class_names: Sequence[str], min_test_images: int) -> list[Subject]:
    """The classes, and last the pool, that have enough test images."""
    names = [class_names[index] for index in resamples.classes]
    large = np.flatnonzero(resamples.num_images >= min_test_images).tolist()
    alone = [Subject((names[k],), np.arange(len(names)) == k, is_pool=False) for k in large]
    pool = pool_of(resamples, class_names, min_test_images)
    return [*alone, *([pool] if pool.size_in(resamples) >= min_test_images else [])]


def pool_of(resamples: Resamples, class_names: Sequence[str], min_test_images: int) -> Subject:
    """The classes with some test images, but fewer than `min_test_images`."""
    small: Mask = resamples.num_images < min_test_images
    return Subject(tuple(class_names[index] for index in resamples.classes[small]), small, is_pool=True)


def find(resamples: Resamples, chosen: Sequence[Subject], max_class_loss: float) -> list[Finding]:
    """Tests each subject against each baseline, with Holm's correction over all of these.

    Raises:
        UserError: too few resamples for the smallest possible p-value to pass Holm's first step.
    """
    rivals = baselines(resamples.recall)
    _check_num_resamples(len(resamples.macro_f1[COMPLETED]), len(rivals) * len(chosen))
    if not chosen:
        return []
    losses = np.stack(
        [np.stack([-_gain(resamples, b, subject) for subject in chosen], axis=1) for b in rivals]
    )  # [baselines, B, subjects]
    adjusted = holm(loss_p_values(losses, max_class_loss).ravel()).reshape(len(rivals), len(chosen))
    findings = []
    for subject, column in zip(chosen, adjusted.T, strict=True):
        p_values = dict(zip(rivals, column.tolist(), strict=True))
        shown = {b: gain_of(resamples, b, subject).mean for b, p_value in p_values.items() if p_value <= ALPHA}
        findings.append(Finding(subject, p_values, min(shown, key=lambda b: shown[b]) if shown else None))
    return findings


def gain_of(resamples: Resamples, baseline: str, subject: Subject) -> Shown:
    """Gain of the completed arm in the share of a subject's images that are right, with its 95 % interval."""
    new, old = (resamples.observed_together(arm, subject.columns) for arm in (COMPLETED, baseline))
    return Shown(new - old, *interval(_gain(resamples, baseline, subject)))


def loss_p_values(losses: Floats, max_class_loss: float) -> Floats:
    """One-sided p-values [baselines, K] of "loses at most max_class_loss" from resampled losses [baselines, B, K].

    At least 1 / (B + 1): the observed data count as one more resample (Davison and Hinkley 1997, section 4.2).
    """
    allowed = np.sum(losses <= max_class_loss + ROUNDING, axis=1)
    p_values: Floats = (1 + allowed) / (losses.shape[1] + 1)
    return p_values


def holm(p_values: Floats) -> Floats:
    """p-values of m hypotheses adjusted step-down (Holm 1979); reject those of at most the familywise error alpha."""
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


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


def _gain(resamples: Resamples, baseline: str, subject: Subject) -> Floats:
    return resamples.together(COMPLETED, subject.columns) - resamples.together(baseline, subject.columns)


def _check_num_resamples(num_resamples: int, num_hypotheses: int) -> None:
    needed = round(num_hypotheses / ALPHA)
    if num_resamples <= needed:
        raise UserError(
            f"params.yaml: evaluate.num_resamples must be > {needed} to test {num_hypotheses} (class, baseline) pairs "
            f"at {ALPHA:g} together, got {num_resamples}"
        )
