"""Finds how strong the stored augmentation should be, on validation images, and writes it into params.yaml."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline import params as sections
from pipeline.dataset import Dataset, PixelStore
from pipeline.engine import run_jobs
from pipeline.errors import UserError
from pipeline.progress import log
from pipeline.seeds import derive
from pipeline.stages import augment, train_classifier
from pipeline.training.classifier import fit_arm
from pipeline.training.inference import logits_and_features, recall_by_class


def run(
    params_file: Path,
    train: Path = Path("data/real/train"),
    val: Path = Path("data/real/val"),
    plan: Path = Path("results/analyze_bias/plan.json"),
    source: Path = Path("models/source"),
    *,
    magnitudes: tuple[float, ...] = (0.0, 0.5, 1.0, 1.5, 2.0),
    seeds: int = 3,
) -> None:
    """Trains the augmented arm under each magnitude and sets `augment.policy.magnitude`; test images are never read.

    Args:
        magnitudes: what to try; those that carry the policy beyond `augment.limits` are left out.
        seeds: classifiers a magnitude.

    Raises:
        UserError: there is no validation image, no magnitude within the limits, or a section is wrong.
    """
    content = sections.read(params_file)
    how = sections.load(train_classifier.Params, params_file, "train_classifier")
    if not Dataset.open(val).num_rows:
        raise UserError(f"{val}: holds no image to judge by; ingest.val_fraction says how many are held out")
    if seeds < 1:
        raise UserError(f"tune_augmentation: seeds must be at least 1, got {seeds}")
    tried = _within_limits(content.get("augment", {}), magnitudes, f"{params_file}: augment")
    scores = _judged(tried, seeds, train, plan, {"train": train, "val": val, "source": source, "params": how})
    chosen = choose(scores)
    for magnitude, values in scores.items():
        figures = f"validation balanced accuracy {_mean(values):.4f} ± {_deviation(values):.4f}"
        log(f"magnitude {magnitude:g}: {figures}{' <- chosen' if magnitude == chosen else ''}")
    _write(params_file, chosen)


def _judged(
    tried: dict[float, augment.Params], seeds: int, train: Path, plan: Path, shared: dict[str, Any]
) -> dict[float, list[float]]:
    """Scores of classifiers trained on what `augment` makes under each magnitude."""
    with TemporaryDirectory() as folder:
        added = {magnitude: Path(folder) / f"{magnitude}" for magnitude in tried}
        for magnitude, settings in tried.items():
            augment.run(train, plan, added[magnitude], Path(folder) / f"{magnitude}.json", settings)
        # Equal seeds for all: what differs between two magnitudes is then the images alone.
        drawn = [derive(shared["params"].seed, "tune", number) for number in range(seeds)]
        jobs = [(magnitude, seed) for magnitude in tried for seed in drawn]
        given = [{"added": added[magnitude], "seed": seed, **shared} for magnitude, seed in jobs]
        results = run_jobs(val_balanced_accuracy, given, "tune_augmentation")
    scores: dict[float, list[float]] = {magnitude: [] for magnitude in tried}
    for (magnitude, _), score in zip(jobs, results, strict=True):
        scores[magnitude].append(score)
    return scores


def choose(scores: Mapping[float, Sequence[float]]) -> float:
    """The least magnitude within one standard error of the best (Breiman et al. 1984, section 3.4.3)."""
    best = max(scores, key=lambda magnitude: (_mean(scores[magnitude]), -magnitude))
    error = _deviation(scores[best]) / len(scores[best]) ** 0.5
    return min(magnitude for magnitude in scores if _mean(scores[magnitude]) >= _mean(scores[best]) - error)


def val_balanced_accuracy(
    added: Path, seed: int, train: Path, val: Path, source: Path, params: train_classifier.Params
) -> float:
    """Mean recall over the classes, on validation images, of one classifier of the augmented arm."""
    network, _ = fit_arm((train, added), source, params, seed, "tune_augmentation")
    held = PixelStore(Dataset.open(val))
    logits, _ = logits_and_features(network, held.images())
    return float(np.nanmean(recall_by_class(logits, held.labels, Dataset.open(train).num_classes)))


def _within_limits(section: dict[str, Any], magnitudes: Sequence[float], where: str) -> dict[float, augment.Params]:
    """Settings under each magnitude that the limits allow, the least first."""
    sections.build(augment.Params, section, where)
    allowed, told = {}, ""
    for magnitude in sorted(set(magnitudes)):
        policy = {**section["policy"], "magnitude": magnitude}
        built, problems = sections.validate(augment.Params, {**section, "policy": policy}, where)
        if built is not None:
            allowed[magnitude] = built
        else:
            told = problems[0].splitlines()[0]
            log(f"magnitude {magnitude:g}: left out: {told}")
    if not allowed:
        raise UserError(f"tune_augmentation: no magnitude of {', '.join(map(str, magnitudes))} is allowed: {told}")
    return allowed


def _write(params_file: Path, magnitude: float) -> None:
    with sections.edited(params_file) as content:
        content["augment"]["policy"]["magnitude"] = magnitude
    log(f"tune_augmentation: {params_file}: augment.policy.magnitude = {magnitude:g}")


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _deviation(values: Sequence[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
