"""Trains an arm's classifiers, one a seed; the arms differ in their data (the baseline has two losses)."""

import csv
import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from pipeline.atomic import write_json, write_text
from pipeline.backbones import Network
from pipeline.dataset import Dataset, PixelStore
from pipeline.engine import run_jobs
from pipeline.params import section
from pipeline.progress import log
from pipeline.seeds import derive
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.classifier import CODE, fit_arm
from pipeline.training.folds import assign_folds
from pipeline.training.inference import logits_and_features, over_seeds, recall_by_class
from pipeline.training.loop import Point
from pipeline.training.recipe import Arm
from pipeline.training.transfer import digest, save, target_task, transfer
from pipeline.training.use import USE_FILE, calibration_figures, describe


@section
class Params(Arm):
    """Section `train_classifier` of params.yaml: one recipe for all arms.

    Attributes:
        seeds: classifiers an arm.
        folds: classifiers that each leave a part of the real images out; the gate measures with them.
    """

    seed: Annotated[int, Field(ge=0)]
    seeds: Annotated[int, Field(ge=1, le=100)]
    folds: Annotated[int, Field(ge=2, le=20)]


def run(
    train: tuple[Path, ...],
    val: Path,
    source: Path,
    out: Path,
    metrics: Path,
    curves: Path,
    params: Params,
    *,
    losses: tuple[str, ...] = (),
    folds: Path | None = None,
) -> None:
    """Trains `params.seeds` classifiers under each loss on real images and those added to them.

    Killed half-way, the next run goes on from the checkpoints; a classifier that was done is not trained again if its
    training was long enough to have one.

    Args:
        train: the real training images, then data sets that are added to them.
        losses: losses to train under, instead of the recipe's.
        folds: where to write classifiers that leave out a fold of the real images each.
    """
    real = Dataset.open(train[0])
    Dataset.open(*train)
    jobs: list[dict[str, Any]] = [
        {"name": f"{loss}/seed-{number}", "loss": loss, "seed": derive(params.seed, number), "left_out": None}
        for loss in losses or (params.loss,)
        for number in range(params.seeds)
    ]
    if folds is not None:
        jobs += [
            {"name": f"fold-{number}", "loss": params.loss, "seed": derive(params.seed, "fold"), "left_out": number}
            for number in range(params.folds)
        ]
    inputs = [*(Dataset.open(folder).digest for folder in train), digest(source)]
    shared = {"train": train, "val": val, "source": source, "params": params, "inputs": inputs}
    results = run_jobs(_train_one, [job | shared for job in jobs], out.name)
    task = target_task(source, real.image_shape[0], real.class_names, params.structure)
    arms = [result for result, job in zip(results, jobs, strict=True) if job["left_out"] is None]
    logits, labels = {name: values for name, _, _, values in arms}, Dataset.open(val).labels
    use = describe(train[0], logits, labels)
    save(out, task, {name: network for name, network, *_ in arms}, {USE_FILE: use.to_json()})
    if folds is not None:
        left_out = {name: network for name, network, *_ in results[len(arms) :]}
        save(folds, task, left_out, {"folds.json": {"folds": params.folds, "seed": params.seed}})
    for job in jobs:
        _checkpoint(job["loss"], job["seed"], job["left_out"], params, inputs).remove()
    report = transfer(source, task.in_channels, task.class_names, params.transfer, 0, params.structure)[1]
    calibration = calibration_figures(use, logits, labels)
    write_json(metrics, _summary(logits, labels, report) | {"calibration": calibration or "none"})
    write_text(curves, _curves({name: points for name, _, points, _ in arms}))
    log(f"{out.name}: {len(arms)} classifiers" + (f", {params.folds} folds" if folds is not None else ""))


def _checkpoint(loss: str, seed: int, left_out: int | None, params: Params, inputs: list[str]) -> Checkpoint:
    """That of one classifier, which knows all that its weights depend on."""
    arm = {name: getattr(params, name) for name in Arm.__dataclass_fields__}  # type: ignore[attr-defined]
    fold = None if left_out is None else [left_out, params.folds, params.seed]
    return Checkpoint([arm, loss, seed, fold, inputs], CODE)


Floats = npt.NDArray[np.float32]
Result = tuple[str, Network, list[Point], Floats]


def _train_one(
    name: str,
    loss: str,
    seed: int,
    left_out: int | None,
    train: tuple[Path, ...],
    val: Path,
    source: Path,
    params: Params,
    inputs: list[str],
) -> Result:
    """One classifier: its name, network, loss curve and logits [N, C] on the validation images."""
    real = Dataset.open(train[0])
    rows = None
    if left_out is not None:
        rows = np.flatnonzero(assign_folds(real.labels, params.folds, params.seed) != left_out)
    checkpoint = _checkpoint(loss, seed, left_out, params, inputs)
    network, points = fit_arm(train, source, params, seed, name, loss=loss, rows=rows, checkpoint=checkpoint)
    held = Dataset.open(val)
    logits = np.empty((0, real.num_classes), np.float32)
    if held.num_rows:
        logits = logits_and_features(network, PixelStore(held).images())[0].numpy()
    return name, network.cpu(), points, logits


def _summary(
    logits: dict[str, Floats], labels: npt.NDArray[np.int64], report: dict[str, list[str]]
) -> dict[str, object]:
    """Validation figures of each loss (mean and deviation over seeds), and how much was transferred."""
    by_loss: dict[str, list[float]] = {}
    for name, values in logits.items() if len(labels) else ():
        recall = recall_by_class(torch.from_numpy(values), labels, values.shape[1])
        by_loss.setdefault(name.partition("/")[0], []).append(float(np.nanmean(recall)))
    figures = {loss: over_seeds(values) for loss, values in by_loss.items()}
    counts = {fate: len(names) for fate, names in report.items()}
    return {"val_balanced_accuracy": figures, "weights": counts, "weight_names": report}


def _curves(points: dict[str, list[Point]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["classifier", "step", "loss"])
    for name, curve in points.items():
        table.writerows([name, point.step, f"{point.loss:.6g}"] for point in curve)
    return text.getvalue()
