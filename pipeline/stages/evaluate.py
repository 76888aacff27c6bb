"""Judges the arms on the untouched real test images: metrics with 95 % intervals and the verdict, ship or hold."""

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from pipeline.atomic import write_json, write_table
from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.metrics.classification import confusion_matrices
from pipeline.metrics.summary import Settings, summarise
from pipeline.params import section
from pipeline.progress import log, track
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import load

Probs = npt.NDArray[np.float64]


@section
class Params:
    """Section `evaluate` of params.yaml; see `pipeline.metrics.summary.Settings`."""

    num_resamples: Annotated[int, Field(ge=100, le=1_000_000)]
    seed: Annotated[int, Field(ge=0)]
    max_class_loss: Annotated[float, Field(ge=0, le=1)]
    min_test_images: Annotated[int, Field(ge=1)]
    many_above: Annotated[int, Field(ge=0)]
    few_up_to: Annotated[int, Field(ge=0)]


def run(
    train: Path,
    test: Path,
    baseline: Path,
    augmented: Path,
    completed: Path,
    feature_completed: Path,
    metrics: Path,
    headline: Path,
    recall: Path,
    confusion: Path,
    params: Params,
) -> None:
    """Writes the metrics and their headline (JSON), the recall of each class and the confusions of each arm (CSV)."""
    real, held = Dataset.open(train), Dataset.open(test)
    if not held.num_rows:
        raise UserError(f"{test}: holds no image; raise ingest.test_fraction in params.yaml or add a test folder")
    store = PixelStore(held)
    arms = {
        "baseline_cross_entropy": baseline / "cross_entropy",
        "baseline_balanced_softmax": baseline / "balanced_softmax",
        "augmented": _only_loss(augmented),
        "completed": _only_loss(completed),
        "feature_completed": _only_loss(feature_completed),
    }
    probs = {arm: _probs(folder, store, arm) for arm, folder in arms.items()}
    result = summarise(store.labels, real.class_names, real.class_counts(), probs, Settings(**vars(params)))
    write_json(metrics, result)
    write_json(headline, _headline(result))
    write_table(recall, _recalls(result))
    write_table(confusion, _confusions(probs, store.labels, real.class_names))
    log(f"evaluate: {result['verdict']}: {result['reason']}")


def _only_loss(folder: Path) -> Path:
    inside = sorted(path for path in folder.glob("*") if path.is_dir())
    if len(inside) != 1:
        raise UserError(f"{folder}: expected classifiers of one loss, found {len(inside)}; has its stage run?")
    return inside[0]


def _probs(folder: Path, store: PixelStore, arm: str) -> Probs:
    """Probabilities of every classifier of an arm, float [S, N, C]."""
    names = sorted(path.stem for path in folder.glob("seed-*.safetensors"))
    if not names:
        raise UserError(f"{folder}: holds no classifiers; has its stage run?")
    images, probs = store.images(), []
    for name in track(sorted(names, key=lambda text: int(text.split("-")[1])), f"evaluate {arm}", unit="classifier"):
        network = load(folder.parent, f"{folder.name}/{name}")
        probs.append(logits_and_features(network, images)[0].softmax(dim=1).double().numpy())
    return np.stack(probs)


def _headline(result: dict[str, Any]) -> dict[str, Any]:
    """The few figures to compare runs by: `dvc metrics show` and `dvc metrics diff`."""
    return {
        "verdict": result["verdict"],
        "gain": {rival: figures["balanced_accuracy"]["mean"] for rival, figures in result["gain"].items()},
        "balanced_accuracy": {arm: figures["balanced_accuracy"]["mean"] for arm, figures in result["arms"].items()},
    }


def _recalls(result: dict[str, Any]) -> pd.DataFrame:
    rows = [
        {"class": name, "arm": arm, "recall": entry["mean"], "low": entry["ci95"][0], "high": entry["ci95"][1]}
        for arm, figures in result["arms"].items()
        for name, entry in figures["per_class_recall"].items()
    ]
    return pd.DataFrame(rows, columns=["class", "arm", "recall", "low", "high"])


def _confusions(probs: dict[str, Probs], labels: npt.NDArray[np.int64], names: tuple[str, ...]) -> pd.DataFrame:
    """Mean count over seeds of each (actual, predicted) pair of each arm."""
    rows = []
    for arm, values in probs.items():
        mean = confusion_matrices(labels, values.argmax(axis=2), len(names)).mean(axis=0)
        rows += [
            {"arm": arm, "actual": names[i], "predicted": names[j], "images": round(float(mean[i, j]), 3)}
            for i, j in zip(*np.nonzero(mean), strict=True)
        ]
    return pd.DataFrame(rows, columns=["arm", "actual", "predicted", "images"])
