"""Judges the arms on the untouched real test images: metrics with 95 % intervals and the verdict, ship or hold."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from pipeline import registry
from pipeline.atomic import write_json, write_table
from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.isolation import ids_digest, refuse_seen, source_names
from pipeline.metrics.arms import BASELINE, COMPLETED, LOSSES, baselines
from pipeline.metrics.attribution import Fresh
from pipeline.metrics.classification import confusion_matrices
from pipeline.metrics.looks import Look, TestSplit, fingerprint, known_by, read, take, to_json
from pipeline.metrics.summary import Known, Settings, summarise
from pipeline.params import section
from pipeline.progress import log
from pipeline.training.arm import Probs, classifiers, only_loss, probabilities
from pipeline.training.robustness import robustness
from pipeline.training.use import load_use


@section
class Params:
    """Section `evaluate` of params.yaml; see also `pipeline.metrics.summary.Settings`.

    Attributes:
        alpha: chance of a wrong `ship` that all looks at one test split may take together.
        test_split: number of the test split; another one begins a new count of looks.
        corruptions: files of `pipeline.corruptions` under which the arms are asked too.
    """

    num_resamples: Annotated[int, Field(ge=100, le=1_000_000)]
    seed: Annotated[int, Field(ge=0)]
    max_class_loss: Annotated[float, Field(ge=0, le=1)]
    min_test_images: Annotated[int, Field(ge=1)]
    min_seeds: Annotated[int, Field(ge=1)]
    many_above: Annotated[int, Field(ge=0)]
    few_up_to: Annotated[int, Field(ge=0)]
    alpha: Annotated[float, Field(gt=0, le=0.5)]
    test_split: Annotated[int, Field(ge=1)]
    corruptions: list[Annotated[str, registry.known("pipeline.corruptions")]]


def run(
    train: Path,
    val: Path,
    test: Path,
    seen: tuple[Path, ...],
    baseline: Path,
    augmented: Path,
    completed: Path,
    feature_completed: Path,
    fresh: Path,
    looks: Path,
    metrics: Path,
    headline: Path,
    recall: Path,
    confusion: Path,
    params: Params,
) -> None:
    """Writes the metrics and their headline (JSON), the recall of each class and the confusions of each arm (CSV).

    Args:
        baseline: classifiers under cross-entropy, Balanced Softmax and the completed arm's own loss, so that no gain is
            the loss's.
        fresh: classifiers without the source's weights, if there are any; they tell what transfer brought.
        seen: what else is trained on, drawn from or chosen by, beside `train` and `val`.
        looks: the looks at test images so far; this one is added unless it is there.

    Raises:
        UserError: there are no test images, or one of them is not real or is among what was seen.
    """
    real, held = Dataset.open(train), Dataset.open(test)
    if not held.num_rows:
        raise UserError(f"{test}: holds no image; raise ingest.test_fraction in params.yaml or add a test folder")
    refuse_seen(held, [Dataset.open(path) for path in (train, val, *seen)])
    store = PixelStore(held)
    own = only_loss(completed)
    arms = {
        **{f"{BASELINE}{loss}": baseline / loss for loss in dict.fromkeys([*LOSSES, own.name])},
        "augmented": only_loss(augmented),
        "completed": own,
        "feature_completed": only_loss(feature_completed),
    }
    probs = {arm: probabilities(folder, store.images(), f"evaluate {arm}") for arm, folder in arms.items()}
    ledger, look = _take_look(looks, held, arms, params)
    known = Known(
        look=look,
        groups_of=_groups(held),
        losses={arm: folder.name for arm, folder in arms.items()},
        fresh=_fresh(fresh, store),
        temperatures={arm: load_use(folder.parent).temperature(folder.name) for arm, folder in arms.items()},
    )
    result = summarise(store.labels, real.class_names, real.class_counts(), probs, _settings(params), known)
    result["robustness"] = robustness(arms, store.images(), store.labels, params.corruptions, params.seed)
    result["splits"] = {split: _split(path) for split, path in (("train", train), ("val", val), ("test", test))}
    if ledger != read(looks):
        write_json(looks, to_json(ledger))
    write_json(metrics, result)
    write_json(headline, _headline(result))
    write_table(recall, _recalls(result))
    write_table(confusion, _confusions(probs, store.labels, real.class_names))
    log(f"evaluate: {result['verdict']}: {result['reason']}")


def _settings(params: Params) -> Settings:
    return Settings(**{name: getattr(params, name) for name in Settings.__dataclass_fields__})


def _fresh(folder: Path, store: PixelStore) -> Fresh | None:
    """What classifiers without the source's weights say of the test images; none where none were trained."""
    if not any(path.is_dir() for path in folder.glob("*")):
        return None
    loss = only_loss(folder)
    return Fresh(loss.name, probabilities(loss, store.images(), "evaluate without transfer").argmax(axis=2))


def _groups(test: Dataset) -> list[str | None]:
    """The group of each test image, none where the source names none."""
    return [name for batch in test.batches(["group"]) for name in batch.column(0).to_pylist()]


def _take_look(
    path: Path, test: Dataset, arms: Mapping[str, Path], params: Params
) -> tuple[tuple[TestSplit, ...], Look]:
    """The looks with this one, and its number. The arms that the verdict does not compare make no new look."""

    def parts() -> Iterator[bytes]:
        yield test.digest.encode()
        for arm in (*baselines(arms), COMPLETED):
            yield from (weights.read_bytes() for weights in classifiers(arms[arm]))

    images = known_by(source_names(test))
    return take(read(path), params.test_split, images, fingerprint(parts()), params.alpha)


def _split(path: Path) -> dict[str, Any]:
    dataset = Dataset.open(path)
    return {"images": dataset.num_rows, "ids": f"sha256:{ids_digest(dataset)}"}


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
