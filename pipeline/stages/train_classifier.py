"""Trains an arm's classifiers, one a seed; the arms differ in their data (the baseline has several losses)."""

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

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
from pipeline.training.fine_tuning import FineTuning
from pipeline.training.folds import folds_of
from pipeline.training.inference import logits_and_features, over_seeds, recall_by_class
from pipeline.training.loop import Point
from pipeline.training.recipe import Arm
from pipeline.training.transfer import digest, save, takes_weights, target_task, transfer
from pipeline.training.use import USE_FILE, calibration_figures, describe


@section
class Params(Arm):
    """Section `train_classifier` of params.yaml: one recipe for all arms.

    Attributes:
        seeds: classifiers an arm.
        folds: classifiers that each leave a part of the real images out; the gate measures with them.
        fresh: so many of the baseline's seeds are trained again without the source's weights, to tell what these bring.
    """

    seed: Annotated[int, Field(ge=0)]
    seeds: Annotated[int, Field(ge=1, le=100)]
    folds: Annotated[int, Field(ge=2, le=20)]
    fresh: Annotated[int, Field(ge=0)]


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
    fresh: Path | None = None,
) -> None:
    """Trains `params.seeds` classifiers under each loss on real images and those added to them.

    Killed half-way, the next run goes on from the checkpoints; a classifier that was done is not trained again if its
    training was long enough to have one.

    Args:
        train: the real training images, then data sets that are added to them.
        losses: losses to train under, instead of the recipe's; one that is named twice counts once.
        folds: where to write classifiers that leave out a fold of the real images each.
        fresh: where to write classifiers that take no weights of the source network.
    """
    real = Dataset.open(train[0])
    Dataset.open(*train)
    named = tuple(dict.fromkeys(losses)) or (params.loss,)
    jobs = [
        *_arm_jobs(named, params),
        *(_fold_jobs(params) if folds is not None else ()),
        *(_fresh_jobs(named, params, source) if fresh is not None else ()),
    ]
    inputs = [*(Dataset.open(folder).digest for folder in train), digest(source)]
    shared = {"train": train, "val": val, "source": source, "inputs": inputs}
    results = run_jobs(_train_one, [{"job": job} | shared for job in jobs], out.name)
    trained = {
        group: [result for result, job in zip(results, jobs, strict=True) if job.group == group]
        for group in get_args(Group)
    }
    task = target_task(source, real.image_shape[0], real.class_names, params.structure)
    logits, labels = {name: values for name, _, _, values in trained["arm"]}, Dataset.open(val).labels
    use = describe(train[0], logits, labels)
    save(out, task, _networks(trained["arm"]), {USE_FILE: use.to_json()})
    if folds is not None:
        save(folds, task, _networks(trained["fold"]), {"folds.json": {"folds": params.folds, "seed": params.seed}})
    if fresh is not None:
        save(fresh, task, _networks(trained["fresh"]))
    for job in jobs:
        _checkpoint(job, inputs).remove()
    report = transfer(source, task.in_channels, task.class_names, params.transfer, 0, params.structure)[1]
    calibration = calibration_figures(use, logits, labels)
    write_json(metrics, _summary(logits, labels, report) | {"calibration": calibration or "none"})
    write_text(curves, _curves({name: points for name, _, points, _ in trained["arm"]}))
    told = ", ".join(f"{len(trained[group])} {NOUNS[group]}" for group in NOUNS if trained[group])
    log(f"{out.name}: {told}")


Group = Literal["arm", "fold", "fresh"]
NOUNS: dict[Group, str] = {"arm": "classifiers", "fold": "folds", "fresh": "without the source's weights"}


@dataclass(frozen=True, kw_only=True)
class Job:
    """One classifier that is to be trained."""

    group: Group
    name: str
    loss: str
    seed: int
    left_out: int | None = None
    params: Params


def _arm_jobs(losses: tuple[str, ...], params: Params) -> list[Job]:
    return [
        Job(group="arm", name=f"{loss}/seed-{number}", loss=loss, seed=derive(params.seed, number), params=params)
        for loss in losses
        for number in range(params.seeds)
    ]


def _fold_jobs(params: Params) -> list[Job]:
    seed, loss = derive(params.seed, "fold"), params.loss
    return [
        Job(group="fold", name=f"fold-{number}", loss=loss, seed=seed, left_out=number, params=params)
        for number in range(params.folds)
    ]


def _fresh_jobs(losses: tuple[str, ...], params: Params, source: Path) -> list[Job]:
    """The first seeds again, under the arms' loss if it is one of `losses`; none if nothing is transferred anyway."""
    if not takes_weights(source, params.transfer):
        return []
    loss = params.loss if params.loss in losses else losses[-1]
    anew = replace(params, transfer="structure", fine_tuning=FineTuning())  # type: ignore[type-var]
    return [replace(job, group="fresh") for job in _arm_jobs((loss,), anew)[: params.fresh]]


def _networks(results: list["Result"]) -> dict[str, Network]:
    return {name: network for name, network, *_ in results}


def _checkpoint(job: Job, inputs: list[str]) -> Checkpoint:
    """That of one classifier, which knows all that its weights depend on."""
    params = job.params
    arm = {name: getattr(params, name) for name in Arm.__dataclass_fields__}  # type: ignore[attr-defined]
    fold = None if job.left_out is None else [job.left_out, params.folds, params.seed]
    return Checkpoint([arm, job.loss, job.seed, fold, inputs], CODE)


Floats = npt.NDArray[np.float32]
Result = tuple[str, Network, list[Point], Floats]


def _train_one(job: Job, train: tuple[Path, ...], val: Path, source: Path, inputs: list[str]) -> Result:
    """One classifier: its name, network, loss curve and logits [N, C] on the validation images."""
    real, params, rows = Dataset.open(train[0]), job.params, None
    if job.left_out is not None:
        rows = np.flatnonzero(folds_of(real, params.folds, params.seed) != job.left_out)
    checkpoint = _checkpoint(job, inputs)
    network, points = fit_arm(
        train, source, params, job.seed, job.name, loss=job.loss, rows=rows, checkpoint=checkpoint
    )
    held = Dataset.open(val)
    logits = np.empty((0, real.num_classes), np.float32)
    if held.num_rows:
        logits = logits_and_features(network, PixelStore(held).images())[0].numpy()
    return job.name, network.cpu(), points, logits


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
