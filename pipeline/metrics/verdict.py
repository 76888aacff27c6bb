"""Ship or hold: whether the completed data helped, and whether a class is shown to have paid for it.

What a look at the test images may err (`pipeline.metrics.looks`) is spent on the claim that something was gained, since
a wrong `ship` is what looking often makes likely.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

from pipeline.metrics import harm, reason
from pipeline.metrics.arms import COMPLETED, baselines
from pipeline.metrics.bootstrap import Resamples, Shown, cautious_interval
from pipeline.metrics.harm import POWER, Finding
from pipeline.metrics.looks import Look

LEVEL = 0.95  # of the intervals where no look is counted


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict, its reason in plain English, and what the test split could and could not show.

    Attributes:
        level: of the intervals that the gain is judged by.
        findings: on each class that is judged, and last on the pool of the others if that is.
        harmed: classes shown to lose more than max_class_loss against at least one baseline.
        cannot_be_judged: classes with fewer than min_test_images test images.
        detectable: class -> by how much a loss must exceed max_class_loss to be found with 80 % power, in [0, 1];
            the worst of the baselines.
    """

    verdict: Literal["ship", "hold"]
    reason: str
    level: float
    findings: tuple[Finding, ...]
    harmed: tuple[str, ...]
    cannot_be_judged: tuple[str, ...]
    detectable: dict[str, float]


def decide(
    resamples: Resamples,
    class_names: Sequence[str],
    *,
    max_class_loss: float,
    min_test_images: int,
    min_seeds: int,
    look: Look | None = None,
) -> Verdict:
    """Ship if enough seeds show that the completed arm beats each baseline, and no class to lose more than is allowed.

    Args:
        resamples: of `completed`, `baseline_cross_entropy`, `baseline_balanced_softmax`, and the baseline under another
            loss if the completed arm has one.
        class_names: [C].
        max_class_loss: allowed loss of recall of a class, in [0, 1].
        min_test_images: a class with fewer is not judged alone.
        min_seeds: with fewer nothing ships; the bootstrap cannot know how far few seeds lie from others.
        look: how often the test images have been looked at; none: once, and with a 95 % interval.

    Raises:
        UserError: too few resamples for the smallest possible p-value to pass Holm's first step.
    """
    chosen = harm.judged(resamples, class_names, min_test_images)
    findings = harm.find(resamples, chosen, max_class_loss)
    harmed = [finding for finding in findings if finding.against]
    alone = {name for subject in chosen if not subject.is_pool for name in subject.classes}
    unjudged = tuple(name for name in class_names if name not in alone)
    level = LEVEL if look is None else 1 - look.alpha
    rivals = baselines(resamples.recall)
    gains = {baseline: gain_shown(resamples, COMPLETED, baseline, level) for baseline in rivals}
    helped = all(gain.low > 0 for gain in gains.values())
    told = reason.gain_clause(gains, look)
    if harmed:
        told += reason.harm_clauses(resamples, harmed, max_class_loss)
    elif helped:
        told += reason.unharmed_clause(bool(alone), max_class_loss)
    if too_few := resamples.num_seeds < min_seeds:
        told = reason.by_too_few_seeds(told, resamples.num_seeds, min_seeds)
    num_hypotheses = len(rivals) * len(chosen)
    detectable = np.max([harm.smallest_detectable(resamples, COMPLETED, b, num_hypotheses) for b in rivals], axis=0)
    return Verdict(
        verdict="ship" if helped and not harmed and not too_few else "hold",
        reason=told + "." + reason.unjudged_sentence(unjudged, min_test_images),
        level=level,
        findings=tuple(findings),
        harmed=tuple(f.subject.classes[0] for f in harmed if not f.subject.is_pool),
        cannot_be_judged=unjudged,
        detectable=dict(zip((class_names[c] for c in resamples.classes), detectable.tolist(), strict=True)),
    )


def gain_shown(resamples: Resamples, arm: str, over: str, level: float) -> Shown:
    """Gain in balanced accuracy of one arm over another, with the interval at this level that is decided on."""
    observed = float(resamples.observed_class_gain(arm, over).mean())
    return Shown(observed, *cautious_interval(resamples.gain(arm, over), observed, level))


def smallest_detectable_gain(resamples: Resamples, arm: str, over: str, level: float) -> float:
    """Gain in balanced accuracy that an interval at this level shows with 80 % power."""
    normal = NormalDist()
    return (normal.inv_cdf((1 + level) / 2) + normal.inv_cdf(POWER)) * float(resamples.gain(arm, over).std(ddof=1))
