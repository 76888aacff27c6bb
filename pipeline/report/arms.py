"""The arms as a reader meets them, and the figures of one class in all of them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.metrics.arms import APART, AUGMENTED, called

KEYS = (
    "arms",
    "gain",
    "apart",
    "attribution",
    "look",
    "pooled",
    "subgroups",
    "verdict",
    "reason",
    "harmed",
    "cannot_be_judged",
    "seeds",
    "min_seeds",
    "test_images",
    "max_class_loss",
)
MANY_CLASSES = 30  # above it charts are compact and tables go by training images


@dataclass(frozen=True)
class Figure:
    """A share or a difference of shares with its 95 % interval."""

    mean: float
    ci95: tuple[float, float]


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Attributes:
        recall: arm -> recall; empty for a class without test images.
        gain: `over_…` -> gain of the completed arm; empty likewise.
        detectable: smallest effect found with 80 % power against the worst of the baselines.
    """

    name: str
    real: int
    augmented: int
    synthetic: int
    recall: dict[str, Figure]
    gain: dict[str, Figure]
    detectable: float | None
    harmed: bool
    cannot_be_judged: bool

    @property
    def added(self) -> int:
        """Images that were made for the class."""
        return self.augmented + self.synthetic


def figure(entry: Mapping[str, Any], bounds: str = "ci95") -> Figure:
    """A figure of metrics.json, with its 95 % interval or the one under another key."""
    return Figure(float(entry["mean"]), (float(entry[bounds][0]), float(entry[bounds][1])))


def compared(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The arms that the verdict looks at, baselines first, and what people call them."""
    return {arm: called(arm) for arm in metrics["arms"] if arm not in APART}


def shown(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The same, and those apart that there are."""
    return compared(metrics) | {arm: called(arm) for arm in metrics["apart"]}


def baseline_gains(entries: Iterable[str]) -> dict[str, str]:
    """Of the gains of an arm those over baselines, `over_…` -> what people call the baseline."""
    return {key: called(key) for key in entries if key != f"over_{AUGMENTED}"}


def class_rows(
    metrics: Mapping[str, Any], names: Sequence[str], counts: Mapping[str, Sequence[int] | npt.NDArray[np.int64]]
) -> list[ClassRow]:
    """Rows in the order of `names`.

    Args:
        metrics: content of the metrics that `evaluate` wrote.
        counts: real, augmented and synthetic -> training images a class, in the order of `names`.
    """
    harmed, unjudged = set(metrics["harmed"]), set(metrics["cannot_be_judged"])
    rows = []
    for place, name in enumerate(names):
        recalls = {arm: metrics["arms"][arm]["per_class_recall"].get(name) for arm in compared(metrics)}
        gains = {over: metrics["gain"][over]["per_class"].get(name) for over in baseline_gains(metrics["gain"])}
        rows.append(
            ClassRow(
                name,
                int(counts["real"][place]),
                int(counts["augmented"][place]),
                int(counts["synthetic"][place]),
                {arm: figure(entry) for arm, entry in recalls.items() if entry},
                {over: figure(entry) for over, entry in gains.items() if entry},
                max((float(entry["detectable"]) for entry in gains.values() if entry), default=None),
                name in harmed,
                name in unjudged,
            )
        )
    return rows


def in_order(rows: Sequence[ClassRow]) -> list[ClassRow]:
    """The rows as they are shown: as they come, or by training images, largest first, where there are many."""
    if len(rows) <= MANY_CLASSES:
        return list(rows)
    return sorted(rows, key=lambda row: -row.real)
