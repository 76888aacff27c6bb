"""Reads benchmarks/completion.csv as a table of arms: `python -m benchmarks.completion_table`."""

import json
from collections import Counter
from pathlib import Path

import pandas as pd

RIVALS = {"over CE": "cross-entropy", "over BS": "Balanced Softmax", "over aug.": "augmented"}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation over the seeds of each arm, and gains paired by seed, ± standard error."""
    lines = []
    for (setting, arm), part in rows.groupby(["setting", "arm"], sort=False):
        line = {"setting": setting, "arm": arm, "n": len(part)}
        for name in ("val", "test", "few", "many"):
            line[name] = f"{100 * part[name].mean():.1f} ± {100 * part[name].std():.1f}"
        for name, rival in RIVALS.items():
            gain = _over(rows[rows.setting == setting], part, rival)
            line[name] = f"{100 * gain.mean():+.1f} ± {100 * gain.sem():.1f}"
        for name in ("frechet", "kernel", "recall", "refused", "short", "train_s", "synthesize_s"):
            line[name] = "" if part[name].isna().all() else f"{part[name].mean():.2f}"
        lines.append(line | {"reasons": _reasons(part)})
    return pd.DataFrame(lines)


def _over(rows: pd.DataFrame, part: pd.DataFrame, rival: str) -> pd.Series:
    other = rows[rows.arm == rival].set_index("seed")["test"]
    return (part.set_index("seed")["test"] - other).dropna()


def _reasons(part: pd.DataFrame) -> str:
    """Shares of the refused images by check."""
    counts: Counter[str] = sum((Counter(json.loads(one)) for one in part["reasons"].dropna()), Counter())
    return ", ".join(f"{name} {images / counts.total():.2f}" for name, images in counts.most_common())


if __name__ == "__main__":
    print(summary(pd.read_csv(Path(__file__).parent / "completion.csv")).to_string(index=False))
