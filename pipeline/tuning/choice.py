"""From the hits of each way of synthesis on images that were left out to the way to take."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Hits = npt.NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Way:
    """One way of synthesis, ordered from none to much.

    Attributes:
        multiple: share of the plan's synthetic images.
        weight: of a synthetic row in the classifier's loss.
        guidance: of the generator, where it has one.
    """

    multiple: float
    weight: float
    guidance: float | None


@dataclass(frozen=True)
class Judged:
    """What a way reached beside no synthesis.

    Attributes:
        poor, rich: balanced accuracy over the classes that the plan fills and over the others.
        gain: of `poor` over no synthesis, and `error` its standard error.
        loss: of `rich` against no synthesis, and `loss_error` its standard error.
    """

    poor: float
    rich: float
    gain: float
    error: float
    loss: float
    loss_error: float


def judge(hits: Hits, without: Hits, labels: npt.NDArray[np.int64], poor: npt.NDArray[np.bool_], seed: int) -> Judged:
    """Compares a way with no synthesis on the same images and seeds.

    Args:
        hits, without: share of the classifiers that were right about each left-out image, [N].
        labels: int64 [N].
        poor: which classes the plan fills, bool [C].
    """
    gains = {}
    for name, classes in (("poor", np.flatnonzero(poor)), ("rich", np.flatnonzero(~poor))):
        gains[name] = _paired(hits - without, labels, classes, seed)
    return Judged(
        _balanced(hits, labels, np.flatnonzero(poor)),
        _balanced(hits, labels, np.flatnonzero(~poor)),
        *gains["poor"],
        -gains["rich"][0],
        gains["rich"][1],
    )


def choose(judged: dict[Way, Judged]) -> Way | None:
    """The least way within one standard error of the best; None for no synthesis (Breiman et al. 1984, section 3.4.3).

    No synthesis is the least of all: it is taken unless the best gains more than its standard error. A way that is
    shown to cost the other classes something (more than one standard error, and more than the poor gain) is out.
    """
    fair = {way: told for way, told in judged.items() if told.loss <= max(told.loss_error, told.gain)}
    if not fair:
        return None
    best = max(fair, key=lambda way: (fair[way].gain, [-part for part in (way.multiple, way.weight)]))
    limit = fair[best].gain - fair[best].error
    if limit <= 0:
        return None
    return min((way for way, told in fair.items() if told.gain >= limit), key=lambda way: (way.multiple, way.weight))


def _balanced(values: Hits, labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64]) -> float:
    means = [values[labels == label].mean() for label in classes if (labels == label).any()]
    return float(np.mean(means)) if means else float("nan")


def _paired(
    gains: Hits, labels: npt.NDArray[np.int64], classes: npt.NDArray[np.int64], seed: int, resamples: int = 1000
) -> tuple[float, float]:
    """Mean over the classes of the mean gain over a class's images, and its standard error by resampling images.

    A class of one image says nothing of its own spread, so images are drawn from all the classes' deviations from their
    class's mean, each class with as many as it has.
    """
    groups = [gains[labels == label] for label in classes if (labels == label).any()]
    if not groups:
        return 0.0, 0.0
    mean = float(np.mean([group.mean() for group in groups]))
    spread = np.concatenate([(group - group.mean()) * np.sqrt(len(group) / max(len(group) - 1, 1)) for group in groups])
    rng = np.random.default_rng(seed)
    drawn = np.stack([rng.choice(spread, (resamples, len(group))).mean(axis=1) for group in groups])
    return mean, float(drawn.mean(axis=0).std())
