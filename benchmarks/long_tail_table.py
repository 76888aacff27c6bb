"""Judges the classifiers of `benchmarks.long_tail` and reads its results as a table."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.dataset import Dataset, PixelStore
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import load

OUT = Path(__file__).parent / "long_tail.csv"
MANY_ABOVE, FEW_UP_TO = 100, 19  # training images of a class, as Liu et al. (2019) group them


def judge(folder: Path, model: Path, on: str) -> dict[str, float]:
    """Balanced accuracy over all classes, and over those with many, medium and few training images.

    The test split is balanced, so that its balanced accuracy is its accuracy.
    """
    counts = Dataset.open(folder / "data/real/train").class_counts()
    held = PixelStore(Dataset.open(folder / "data/real" / on))
    name = next(model.rglob("*.safetensors")).relative_to(model).with_suffix("").as_posix()
    logits, _ = logits_and_features(load(model, name), held.images())
    right = logits.argmax(1).numpy() == held.labels
    recall = np.array([right[held.labels == label].mean() for label in range(len(counts))])
    many, few = counts > MANY_ABOVE, counts <= FEW_UP_TO
    groups = {"all": counts > 0, "many": many, "medium": ~many & ~few, "few": few}
    return {name: float(recall[chosen].mean()) for name, chosen in groups.items() if chosen.any()}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation over the seeds."""
    lines = []
    for key, part in rows.groupby(["data", "schedule", "on", "arm"], sort=False):
        line = dict(zip(("data", "schedule", "on", "arm"), key, strict=True)) | {"n": len(part)}
        for name in ("all", "many", "medium", "few"):
            known = name in part and not part[name].isna().all()
            line[name] = f"{100 * part[name].mean():.1f} ± {100 * part[name].std():.1f}" if known else ""
        lines.append(line | {"seconds": f"{part['seconds'].mean():.0f}"})
    return pd.DataFrame(lines)


if __name__ == "__main__":
    print(summary(pd.read_csv(OUT)).to_string(index=False))
