"""Finds how much to synthesise, with which weight and guidance, and writes it into params.yaml."""

import dataclasses
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from pipeline import params as sections
from pipeline import plan as plans
from pipeline import registry
from pipeline.dataset import Dataset
from pipeline.engine import run_jobs
from pipeline.errors import UserError
from pipeline.progress import log
from pipeline.stages import augment, synthesize, train_classifier, train_generator
from pipeline.tuning import fold
from pipeline.tuning.choice import Judged, Way, choose, judge
from pipeline.tuning.fold import Inputs, Outcome


def run(
    params_file: Path,
    train: Path = Path("data/real/train"),
    val: Path = Path("data/real/val"),
    plan: Path = Path("results/analyze_bias/plan.json"),
    source: Path = Path("models/source"),
    source_domain: Path = Path("data/source_domain"),
    *,
    multiples: tuple[float, ...] = (0.5, 1.0),
    weights: tuple[float, ...] = (0.5, 1.0),
    guidances: tuple[float, ...] = (),
    folds: int = 3,
    seeds: int = 2,
) -> None:
    """Cross-validates ways of synthesis on real training images; test images are never read.

    Each fold trains its own generator, gate and classifiers without the images that it judges by, all for the same
    number of updates. Sets `synthesize.multiple`, `synthesize.weight` and, where tried, the generator's guidance.

    Args:
        multiples: shares of the plan's synthetic images to try beside none.
        weights: weights of a synthetic row to try.
        guidances: to try, if the generator has one; none: as in params.yaml.
        folds: parts that the real training images are cut into.
        seeds: classifiers of each fold and way.

    Raises:
        UserError: the plan asks for no synthetic image, an argument is out of range, or a section is wrong.
    """
    inputs = Inputs(
        train,
        val,
        source_domain,
        source,
        plan,
        sections.load(augment.Params, params_file, "augment"),
        sections.load(train_generator.Params, params_file, "train_generator"),
        sections.load(train_classifier.Params, params_file, "train_classifier"),
        sections.load(synthesize.Params, params_file, "synthesize"),
    )
    ways = _ways(inputs, multiples, weights, guidances, folds, seeds)
    poor = np.array([planned.synthesize > 0 for planned in plans.read(plan).values()])
    if not poor.any():
        raise UserError(f"{plan}: asks for no synthetic image; there is nothing to tune")
    log(f"tune: {folds} folds, each trains a generator, then {(len(ways) + 1) * seeds} classifiers")
    with TemporaryDirectory() as scratch:
        jobs = [
            {"number": k, "num_folds": folds, "num_seeds": seeds, "ways": ways, "inputs": inputs}
            | {"folder": Path(scratch) / str(k)}
            for k in range(folds)
        ]
        outcomes = run_jobs(fold.run, jobs, "tune")
    judged = _judged(outcomes, ways, poor, inputs.classifier.seed)
    chosen = choose(judged)
    _tell(judged, chosen, outcomes)
    _write(params_file, chosen, inputs.generator.name)


def _ways(
    inputs: Inputs,
    multiples: tuple[float, ...],
    weights: tuple[float, ...],
    guidances: tuple[float, ...],
    folds: int,
    seeds: int,
) -> tuple[Way, ...]:
    """All combinations, after a look at each number."""
    classes = Dataset.open(inputs.train)
    least = {"multiples": multiples, "weights": weights, "guidances": guidances}
    for name, values in least.items():
        if any(not value > 0 for value in values):
            raise UserError(f"tune: {name} must be > 0, got {', '.join(map(str, values))}")
    if not multiples or not weights or max(multiples) > 1:
        raise UserError("tune: multiples must be one or more numbers above 0 and at most 1, and weights not empty")
    if not 2 <= folds <= classes.num_rows or seeds < 1:
        raise UserError(f"tune: folds must be from 2 to {classes.num_rows} and seeds at least 1, got {folds}, {seeds}")
    sampling = registry.get("pipeline.generators", inputs.generator.name).Sampling
    if guidances and "guidance" not in {field.name for field in dataclasses.fields(sampling)}:
        raise UserError(f"tune: generator {inputs.generator.name!r} has no guidance to tune")
    return tuple(
        Way(multiple, weight, guidance)
        for guidance in guidances or (None,)
        for multiple in multiples
        for weight in weights
    )


def _judged(
    outcomes: list[Outcome], ways: tuple[Way, ...], poor: np.ndarray[Any, np.dtype[np.bool_]], seed: int
) -> dict[Way, Judged]:
    labels = np.concatenate([outcome.labels for outcome in outcomes])
    hits = {way: np.concatenate([outcome.hits[way] for outcome in outcomes]) for way in (None, *ways)}
    return {way: judge(hits[way], hits[None], labels, poor, seed) for way in ways}


def _tell(judged: dict[Way, Judged], chosen: Way | None, outcomes: list[Outcome]) -> None:
    for way, told in judged.items():
        guidance = "" if way.guidance is None else f", guidance {way.guidance:g}"
        images = sum(outcome.accepted[way] for outcome in outcomes)
        log(
            f"multiple {way.multiple:g}, weight {way.weight:g}{guidance}: classes to fill {100 * told.poor:.1f} % "
            f"({100 * told.gain:+.1f} ± {100 * told.error:.1f}), others {100 * told.rich:.1f} % "
            f"({-100 * told.loss:+.1f} ± {100 * told.loss_error:.1f}), {images} images"
            f"{' <- chosen' if way == chosen else ''}"
        )
    if chosen is None:
        log("tune: no way gains more than its standard error: nothing is synthesised <- chosen")


def _write(params_file: Path, chosen: Way | None, generator: str) -> None:
    with sections.edited(params_file) as content:
        section = content["synthesize"]
        section["multiple"] = 0.0 if chosen is None else chosen.multiple
        if chosen is not None:
            section["weight"] = chosen.weight
        if chosen is not None and chosen.guidance is not None:
            section["sampling"][generator]["guidance"] = chosen.guidance
    log(f"tune: {params_file}: synthesize.multiple = {0.0 if chosen is None else chosen.multiple:g}")
