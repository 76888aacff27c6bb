import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline import plan as plans
from pipeline.plan import ClassPlan
from pipeline.stages import analyze_bias
from tests.builders import digests, write_dataset
from tests.tiny import settings

COUNTS = {"cat": 8, "größe M": 4, "5$ $x_{": 2}
HELD_OUT = {"cat": 2, "größe M": 1, "5$ $x_{": 0}


HALVES = {"target": 1.0, "augment_share": 0.5, "max_augment": 20, "max_synthesize": 20}


def run(root: Path, **changes: Any) -> Path:
    splits = [
        write_dataset(root / f"{name} set", COUNTS if name == "train" else HELD_OUT)
        for name in ("train", "val", "test")
    ]
    analyze_bias.run(
        *splits,
        root / "plan.json",
        root / "metrics.json",
        root / "histogram.csv",
        root / "plots",
        settings(analyze_bias.Params, "analyze_bias", **(HALVES | changes)),
    )
    return root


def test_the_plan_by_hand(tmp_path: Path) -> None:
    assert plans.read(run(tmp_path) / "plan.json") == {
        "cat": ClassPlan(8, 0, 0),
        "größe M": ClassPlan(4, 2, 2),
        "5$ $x_{": ClassPlan(2, 3, 3),
    }


def test_the_plan_follows_its_settings(tmp_path: Path) -> None:
    run(tmp_path, target=2.0, augment_share=0.25, max_augment=1, max_synthesize=2)
    # Short of 16: 8, 12, 14; a quarter 2, 3, 3.5 (4, at most 2), the rest 6, 9, 12 (at most 16, 8, 4).
    assert [(e.augment, e.synthesize) for e in plans.read(tmp_path / "plan.json").values()] == [(2, 6), (3, 8), (2, 4)]


def test_the_measures_by_hand(tmp_path: Path) -> None:
    found = json.loads((run(tmp_path, effective_number_beta=0.5) / "metrics.json").read_text(encoding="utf-8"))
    assert found["images"] == 14
    assert found["classes"] == 3
    assert found["imbalance_ratio"] == 4.0
    # -(4/7 ln 4/7 + 2/7 ln 2/7 + 1/7 ln 1/7) / ln 3 = (0.31978 + 0.35793 + 0.27799) / 1.09861
    assert found["entropy"] == pytest.approx(0.869918, abs=2e-5)
    # sum (2 i - 4) n_i / (3 * 14), n sorted 2 4 8: (-2 * 2 + 0 * 4 + 2 * 8) / 42
    assert found["gini"] == pytest.approx(12 / 42, abs=1e-6)
    # (1 - 0.5^n) / 0.5: 1.992, 1.875, 1.5
    assert found["effective_number"] == {"cat": 1.992, "größe M": 1.875, "5$ $x_{": 1.5}


def test_the_histogram_and_its_pictures(tmp_path: Path) -> None:
    table = pd.read_csv(run(tmp_path) / "histogram.csv")
    assert table.to_dict("list") == {
        "class": ["cat", "größe M", "5$ $x_{"],
        "train": [8, 4, 2],
        "augment": [0, 2, 3],
        "synthesize": [0, 2, 3],
        "val": [2, 1, 0],
        "test": [2, 1, 0],
    }
    with Image.open(tmp_path / "plots" / "histogram.png") as image:
        assert np.ptp(np.asarray(image.convert("L"))) > 100
    assert all(name in (tmp_path / "plots" / "histogram.svg").read_text(encoding="utf-8") for name in COUNTS)


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    assert digests(run(tmp_path / "one")) == digests(run(tmp_path / "two"))
