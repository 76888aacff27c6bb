"""Labels that look wrong: cleanlab (Northcutt et al. 2021) on what a quick classifier says of images it did not see."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.metrics.bias import quick_classifier
from pipeline.params import section

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Prob = Annotated[float, Field(ge=0, le=1)]


@section
class Params:
    """Section `analyze_bias.label_issues`.

    Attributes:
        min_class_images: smaller classes are not examined.
        min_recall: nor are classes that the quick classifier recognises less often; it would only guess.
        max_given_prob: a label is doubted if its own class has at most this probability,
        min_suggested_prob: and another class at least this one.
    """

    min_class_images: Annotated[int, Field(ge=2)]
    min_recall: Prob
    max_given_prob: Prob
    min_suggested_prob: Prob


@dataclass(frozen=True)
class Issues:
    """Doubted labels, the most doubtful first.

    Attributes:
        rows: [M].
        suggested: [M], the class that the image looks like.
        score: [M], 0 (surely wrong) to 1: probability of the given label, under the friendlier of two priors.
        skipped: class -> why its labels were not examined.
        examined: images whose labels were.
    """

    rows: Ints
    suggested: Ints
    score: Floats
    skipped: dict[int, str]
    examined: int


def find(scores: Floats, labels: Ints, params: Params) -> Issues:
    """Doubted labels.

    cleanlab must doubt a label, and it must be improbable both where classes are as frequent as in the data (else
    images of large classes look like small ones) and where all are equally frequent (else the other way round).

    Args:
        scores: out-of-fold scores, [N, C].
        labels: [N].
        params: the limits.
    """
    skipped = unfit(scores, labels, params)
    kept = np.setdiff1d(np.arange(scores.shape[1]), list(skipped))
    rows = np.flatnonzero(np.isin(labels, kept))
    if len(kept) < 2:
        return Issues(rows[:0], rows[:0], np.empty(0), skipped, 0)
    given, some = np.searchsorted(kept, labels[rows]), scores[np.ix_(rows, kept)]
    log_prior = np.log(np.bincount(given) / len(given))
    divisor, _ = quick_classifier.calibrate(some, given, log_prior)
    natural = quick_classifier.probabilities(some, log_prior, divisor)
    even = quick_classifier.probabilities(some, np.zeros(len(kept)), divisor)
    own = np.maximum(natural, even)[np.arange(len(rows)), given]
    suggested = natural.argmax(axis=1)
    doubted = doubted_by_cleanlab(given, natural) & (own <= params.max_given_prob)
    doubted &= (natural.max(axis=1) >= params.min_suggested_prob) & (suggested != given)
    order = np.flatnonzero(doubted)[np.argsort(own[doubted], kind="stable")]
    return Issues(rows[order], kept[suggested[order]], own[order], skipped, len(rows))


def unfit(scores: Floats, labels: Ints, params: Params) -> dict[int, str]:
    """Classes whose labels cannot be examined, and why."""
    counts = np.bincount(labels, minlength=scores.shape[1])
    recall = np.bincount(labels[scores.argmax(axis=1) == labels], minlength=len(counts)) / np.maximum(counts, 1)
    why = {}
    for label, (count, share) in enumerate(zip(counts, recall, strict=True)):
        if count < params.min_class_images:
            why[label] = f"{count} images, fewer than {params.min_class_images}"
        elif share < params.min_recall:
            why[label] = f"the quick classifier recognises {share:.0%} of it, fewer than {params.min_recall:.0%}"
    return why


def doubted_by_cleanlab(labels: Ints, probs: Floats) -> npt.NDArray[np.bool_]:
    """Labels that confident learning prunes by noise rate, bool [N]; classes must run from 0, none missing."""
    from cleanlab.filter import find_label_issues

    return np.asarray(find_label_issues(labels, probs, filter_by="prune_by_noise_rate", n_jobs=1), dtype=np.bool_)
