"""What the page's tables say, as plain rows of text and figures."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.metrics import bias
from pipeline.report import format as form
from pipeline.report.arms import shown

Counts = npt.NDArray[np.int64]

MOST_REASONS = 12
MOST_CONFUSIONS = 10


def overall(metrics: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """(arm, its name, [balanced accuracy, accuracy, macro F1, calibration error]) of each arm, those apart last."""
    rows = []
    for arm, title in shown(metrics).items():
        figures = metrics["arms"][arm]
        cells = [
            f"{form.percent(figures[key]['mean'])} ({form.percent_interval(figures[key]['ci95'])})"
            for key in ("balanced_accuracy", "accuracy", "macro_f1")
        ]
        rows.append((arm, title, [*cells, form.percent(figures["calibration_error"]["mean"])]))
    return rows


def groups(metrics: Mapping[str, Any]) -> list[tuple[str, list[str], list[str]]]:
    """(group, its classes, recall of each arm as mean ± deviation over seeds); groups without a class are left out.

    The arms are those of `overall`.
    """
    rows = []
    for name, classes in metrics["groups"].items():
        entries = [metrics["arms"][arm]["groups"].get(name) for arm in shown(metrics)]
        cells = [
            f"{form.percent(entry['mean'])} ± {form.percent(entry['std'])}" if entry else form.NONE for entry in entries
        ]
        if classes:
            rows.append((name, list(classes), cells))
    return rows


def imbalance(real: Counts, after: Counts) -> list[tuple[str, str, str]]:
    """(measure, before, after) of the training images."""
    measures: list[tuple[str, Callable[[Counts], str]]] = [
        ("training images", lambda counts: form.count(counts.sum())),
        ("largest class", lambda counts: form.count(counts.max())),
        ("smallest class", lambda counts: form.count(counts.min())),
        ("imbalance ratio: largest over smallest", lambda counts: form.number(bias.imbalance_ratio(counts), 2)),
        ("evenness: entropy, 1 is even", lambda counts: form.number(bias.entropy(counts))),
        ("inequality: Gini, 0 is even", lambda counts: form.number(bias.gini(counts))),
    ]
    return [(name, measure(real), measure(after)) for name, measure in measures]


def intake(ingest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What came in: (name, figure)."""
    side, colour = ingest["image_size"], "colour" if ingest["channels"] == 3 else "grey"
    splits = {split: sum(counts.values()) for split, counts in ingest["images"].items()}
    return [
        ("files", form.count(ingest["files"])),
        ("refused", form.count(ingest["refused"])),
        ("exact duplicates dropped", form.count(ingest["duplicates"])),
        ("image size", f"{side} × {side}, {colour}"),
        *((f"{split} images", form.count(total)) for split, total in splits.items()),
    ]


def reasons(quarantine: pd.DataFrame) -> list[tuple[str, int]]:
    """(reason, number of files), the most frequent first; rare ones together at the end."""
    counted = sorted(Counter(quarantine["reason"].tolist()).items(), key=lambda item: (-item[1], item[0]))
    rest = counted[MOST_REASONS:]
    return counted[:MOST_REASONS] + ([(f"{len(rest)} other reasons", sum(n for _, n in rest))] if rest else [])


def confusion_shares(confusion: pd.DataFrame, arm: str, names: Sequence[str]) -> npt.NDArray[np.float64]:
    """Share of each class's test images (rows) that were taken for each class (columns), [C, C]."""
    place = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)))
    chosen = confusion[confusion["arm"] == arm]
    for actual, predicted, images in zip(chosen["actual"], chosen["predicted"], chosen["images"], strict=True):
        if actual in place and predicted in place:
            counts[place[actual], place[predicted]] = images
    shares: npt.NDArray[np.float64] = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1e-9)
    return shares


def confused_most(
    shares: Mapping[str, npt.NDArray[np.float64]], names: Sequence[str]
) -> list[tuple[str, str, list[str]]]:
    """(actual, taken for, share in each arm) of the most frequent confusions, by the arm in which they are worst."""
    worst = np.max(list(shares.values()), axis=0)
    np.fill_diagonal(worst, 0)
    order = np.argsort(-worst, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [(int(flat) // len(names), int(flat) % len(names)) for flat in order]
    return [
        (names[i], names[j], [form.percent(share[i, j]) for share in shares.values()])
        for i, j in pairs
        if worst[i, j] > 0
    ]
