"""The page's tables by hand."""

import numpy as np
import pandas as pd

from pipeline.report import figures, tables
from pipeline.report.arms import ClassRow, in_order


def test_imbalance_before_and_after() -> None:
    rows = {name: (before, after) for name, before, after in tables.imbalance(np.array([30, 0]), np.array([30, 10]))}
    assert rows["training images"] == ("30", "40")
    assert rows["imbalance ratio: largest over smallest"] == ("∞", "3")
    assert rows["inequality: Gini, 0 is even"] == ("0.5", "0.25")


def test_reasons_are_counted_and_rare_ones_put_together() -> None:
    reasons = ["torn"] * 3 + ["empty file"] * 5 + [f"reason {number:02d}" for number in range(12)]
    counted = tables.reasons(pd.DataFrame({"reason": reasons}))
    assert counted[:3] == [("empty file", 5), ("torn", 3), ("reason 00", 1)]
    assert counted[-1] == ("2 other reasons", 2)


def test_confusion_shares() -> None:
    rows = [("completed", "1", "1", 3.0), ("completed", "1", "2", 1.0), ("augmented", "2", "1", 5.0)]
    table = pd.DataFrame(rows, columns=["arm", "actual", "predicted", "images"])
    shares = tables.confusion_shares(table, "completed", ["1", "2"])
    assert shares.tolist() == [[0.75, 0.25], [0.0, 0.0]]
    assert tables.confused_most({"completed": shares, "augmented": shares / 2}, ["1", "2"]) == [
        ("1", "2", ["25.0", "12.5"])
    ]
    assert figures.heat_map(shares).startswith("data:image/png;base64,")


def test_many_classes_go_by_training_images() -> None:
    rows = [ClassRow(str(n), n, 0, 0, {}, {}, None, False, False) for n in (1, 3, 2)]
    assert [row.real for row in in_order(rows)] == [1, 3, 2]
    assert [row.real for row in in_order(rows * 11)] == [3] * 11 + [2] * 11 + [1] * 11


def test_gains_are_coloured_by_whether_they_are_shown() -> None:
    entry = {"balanced_accuracy": {"mean": 0.01, "ci95": [0.001, 0.02]}}
    other = {"balanced_accuracy": {"mean": 0.0, "ci95": [-0.01, 0.01]}}
    chart = figures.gains({"over_cross_entropy": entry, "over_balanced_softmax": other})
    assert [row.text for row in chart.rows] == ["+1.0 [+0.1 to +2.0]", "0.0 [−1.0 to +1.0]"]
    assert ["mark shown" in row.drawing for row in chart.rows] == [True, False]
