"""Fits the baseline's heads anew, on real features and on features that are made for the poorest classes.

An arm of its own, beside that of the synthetic images: the trunks are the baseline's, no image is made.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, field_validator
from torch import nn

from pipeline import registry
from pipeline.atomic import write_json
from pipeline.backbones import Network
from pipeline.dataset import Dataset, PixelStore
from pipeline.engine import run_jobs
from pipeline.errors import UserError
from pipeline.feature_completion import Known, complete
from pipeline.params import section
from pipeline.progress import log
from pipeline.seeds import derive
from pipeline.training.head import Refit, refit
from pipeline.training.inference import logits_and_features, over_seeds, recall_by_class
from pipeline.training.transfer import load, load_task, save
from pipeline.training.use import USE_FILE, calibration_figures, describe

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
HEADS = {"own": "before", "real_features": "on real features alone", "completed": "completed"}


@section
class Params:
    """Section `complete_features` of params.yaml.

    Attributes:
        name: a file of pipeline/feature_completion.
        trunk: the loss of the baseline's networks that are taken.
        few_up_to: a class with at most so many images is completed.
        many_above: a class with more is borrowed from.
        target: what a completed class weighs in the end, in real images.
        samples: features that are made for it; together they weigh what it lacks.
        head: how the head is fitted.
    """

    name: str
    methods: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.feature_completion", "name", "params.yaml: complete_features.methods"),
    ]
    trunk: Annotated[str, registry.known("pipeline.losses")]
    seed: Annotated[int, Field(ge=0)]
    few_up_to: Annotated[int, Field(ge=1)]
    many_above: Annotated[int, Field(ge=1)]
    target: Annotated[float, Field(gt=0)]
    samples: Annotated[int, Field(ge=1)]
    head: Refit

    @field_validator("many_above")
    @classmethod
    def _apart(cls, value: int, info: Any) -> int:
        if value < info.data.get("few_up_to", 0):
            raise ValueError(
                f"params.yaml: complete_features.many_above must be at least few_up_to, {info.data['few_up_to']}, "
                f"got {value}"
            )
        return value


@dataclass(frozen=True)
class Wanted:
    """Which classes are completed, and from which.

    Attributes:
        rich: classes that are borrowed from.
        samples: features to make of each class, [C]; all 0 where no class is poor, or none is rich.
        weights: of each of them, [C], where a real image weighs 1.
    """

    rich: Ints
    samples: Ints
    weights: Floats


def run(baseline: Path, train: Path, val: Path, out: Path, metrics: Path, params: Params) -> None:
    """Writes the baseline's networks with fitted heads; `metrics` says what that did on the validation images.

    Raises:
        UserError: the baseline has no networks, or none of that loss.
    """
    real = Dataset.open(train)
    names = sorted(path.stem for path in (baseline / params.trunk).glob("seed-*.safetensors"))
    if not names:
        losses = ", ".join(sorted(path.name for path in baseline.glob("*") if path.is_dir()))
        place = f"params.yaml: complete_features.trunk must be a loss of the baseline ({losses}), got {params.trunk!r}"
        raise UserError(place if losses else f"{baseline}: holds no classifiers; has train_baseline run?")
    wanted = plan(real.class_counts(), params)
    task = load_task(baseline)
    if not (linear := type(task.build(seed=0).head) is nn.Linear):
        wanted = replace(wanted, samples=np.zeros_like(wanted.samples))
    shared = {"baseline": baseline, "train": train, "val": val, "wanted": wanted, "params": params}
    results = run_jobs(_complete_one, [{"name": f"{params.trunk}/{name}"} | shared for name in names], out.name)
    labels = Dataset.open(val).labels
    logits = {name: under.get("completed", under["own"]) for name, _, under in results}
    use = describe(train, logits, labels)
    save(out, task, {name: network for name, network, _ in results}, {USE_FILE: use.to_json()})
    summary = _summary(results, labels, real, wanted)
    write_json(metrics, summary | {"calibration": calibration_figures(use, logits, labels) or "none"})
    why = "" if linear else f"what is fitted is a linear head, and the baseline's is {task.head!r}"
    log(f"complete_features: {_told(summary, why)}")


def plan(counts: Ints, params: Params) -> Wanted:
    """How many features to make of each class and what they weigh, given its real images [C]."""
    rich = np.flatnonzero(counts > params.many_above)
    poor = (counts > 0) & (counts <= params.few_up_to) & (counts < params.target) & (len(rich) > 0)
    return Wanted(
        rich, np.where(poor, params.samples, 0), np.where(poor, (params.target - counts) / params.samples, 0.0)
    )


Logits = dict[str, npt.NDArray[np.float32]]
Result = tuple[str, Network, Logits]


def _complete_one(name: str, baseline: Path, train: Path, val: Path, wanted: Wanted, params: Params) -> Result:
    """One network with its new head, and its logits on the validation images under each head.

    Between the network's own head and the completed one stands that of the real features alone: it tells what fitting
    does by itself. The prior counts real images only: features that are made say nothing about how frequent a class is.
    """
    network, store = load(baseline, name), PixelStore(Dataset.open(train))
    heads = {"own": network.head}
    if wanted.samples.any():
        features = logits_and_features(network, store.images())[1]
        network, counts = network.cpu(), np.bincount(store.labels, minlength=len(wanted.samples))
        known, ones = Known(features, store.labels, wanted.rich), np.ones(len(store))
        made, labels = complete(params.name, params.methods, known, wanted.samples, derive(params.seed, name))
        weights = np.concatenate([ones, wanted.weights[labels]])
        both, both_labels = torch.cat([features.double(), made]), np.concatenate([store.labels, labels])
        heads["real_features"] = refit(network.head, features, store.labels, ones, counts, params.head)
        heads["completed"] = refit(network.head, both, both_labels, weights, counts, params.head)
    logits = _logits(network, heads, Dataset.open(val))
    network.head = heads.get("completed", network.head)
    return name, network, logits


def _logits(network: Network, heads: dict[str, nn.Linear], held: Dataset) -> Logits:
    """Logits under each head, [N, C]."""
    if not held.num_rows:
        return {name: np.empty((0, held.num_classes), np.float32) for name in heads}
    features = logits_and_features(network, PixelStore(held).images())[1]
    network.cpu()
    with torch.inference_mode():
        return {name: head(features).numpy() for name, head in heads.items()}


def _summary(results: list[Result], labels: Ints, real: Dataset, wanted: Wanted) -> dict[str, Any]:
    counts, made = real.class_counts(), np.flatnonzero(wanted.samples)
    return {
        "val_balanced_accuracy": _figures(results, labels, np.arange(real.num_classes)),
        "val_recall_of_completed": _figures(results, labels, made),
        "completed": {
            real.class_names[label]: {"real": int(counts[label]), "made": int(wanted.samples[label])} for label in made
        },
        "borrowed_from": [real.class_names[label] for label in wanted.rich],
    }


def _figures(results: list[Result], labels: Ints, classes: Ints) -> dict[str, dict[str, float]]:
    """Mean recall of some classes under each head, over the seeds; nothing where none has a validation image."""
    figures = {}
    for head in results[0][2] if len(labels) else ():
        asked = [torch.from_numpy(logits[head]) for _, _, logits in results]
        recalls = np.stack([recall_by_class(logits, labels, logits.shape[1])[classes] for logits in asked])
        if not np.isnan(recalls).all():
            figures[head] = over_seeds(np.nanmean(recalls, axis=1))
    return figures


def _told(summary: dict[str, Any], why: str) -> str:
    if not summary["completed"]:
        why = why or ("no class is poor" if summary["borrowed_from"] else "no class is rich enough to borrow from")
        return f"{why}; the heads stay as they are"
    figures = summary["val_balanced_accuracy"]
    shown = [f"{figures[head]['mean']:.3f} {kind}" for head, kind in HEADS.items() if head in figures]
    return f"{len(summary['completed'])} classes" + (
        f"; balanced accuracy on validation: {', '.join(shown)}" if shown else ""
    )
