"""One fold of the cross-validation: everything that learns is trained anew without the images that are left out."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline import plan as plans
from pipeline.atomic import write_json
from pipeline.dataset import Dataset, PixelStore, Row, ShardWriter
from pipeline.seeds import derive
from pipeline.stages import augment, synthesize, train_classifier, train_generator
from pipeline.training.classifier import fit_arm
from pipeline.training.folds import folds_of
from pipeline.training.inference import logits_and_features
from pipeline.tuning.choice import Hits, Way


class Inputs(NamedTuple):
    """What a fold is made of: outputs of earlier stages, and the sections of params.yaml."""

    train: Path
    val: Path
    source_domain: Path
    source: Path
    plan: Path
    augment: augment.Params
    generator: train_generator.Params
    classifier: train_classifier.Params
    synthesize: synthesize.Params


class Outcome(NamedTuple):
    """Of each image left out its label, and the share of classifiers that were right about it, under each way.

    `None` stands for no synthesis.
    """

    labels: npt.NDArray[np.int64]
    hits: dict[Way | None, Hits]
    accepted: dict[Way | None, int]


def run(number: int, num_folds: int, num_seeds: int, ways: tuple[Way, ...], inputs: Inputs, folder: Path) -> Outcome:
    """Trains without fold `number` of the real training images and judges every way on it."""
    real = Dataset.open(inputs.train)
    folds = folds_of(real, num_folds, derive(inputs.classifier.seed, "tune"))
    kept, held = folder / "real", folder / "held"
    _copy(real.rows(), kept, real.class_names, folds != number)
    _copy(real.rows(), held, real.class_names, folds == number)
    seen = Dataset.open(kept).class_counts() > 0
    plan = _plan_for(inputs.plan, seen, real.class_names, folder / "plan.json")
    augmented, models = folder / "augmented", folder / "models"
    augment.run(kept, plan, augmented, folder / "augment.json", inputs.augment)
    train_generator.run(
        (kept, augmented),
        inputs.val,
        inputs.source_domain,
        *(models / "generator", folder / "generator.json", folder / "generator.csv", folder / "samples"),
        inputs.generator,
    )
    train_classifier.run(
        (kept,),
        inputs.val,
        inputs.source,
        *(models / "baseline", folder / "baseline.json", folder / "baseline.csv"),
        replace(inputs.classifier, seeds=1),  # type: ignore[type-var]
        folds=models / "folds",
    )
    store = PixelStore(Dataset.open(held))
    judgeable = seen[store.labels]
    hits: dict[Way | None, Hits] = {}
    accepted: dict[Way | None, int] = {None: 0}
    hits[None] = _hits((augmented,), kept, store, num_seeds, inputs)[judgeable]
    for guidance in sorted({way.guidance for way in ways}, key=lambda value: value or 0.0):
        drawn = folder / f"drawn-{guidance}"
        settings = replace(inputs.synthesize, sampling=guided(inputs, guidance))  # type: ignore[type-var]
        told, table, candidates, fidelity = (
            folder / f"{drawn.name}.{kind}" for kind in ("json", "csv", "parquet", "f")
        )
        outs = (drawn, told, table, candidates, fidelity)
        synthesize.run(kept, models / "generator", models / "folds", plan, *outs, settings)
        for way in (way for way in ways if way.guidance == guidance):
            part = folder / f"{drawn.name}-{way.multiple}-{way.weight}"
            accepted[way] = _take(drawn, part, way, plans.read(plan))
            hits[way] = _hits((augmented, part), kept, store, num_seeds, inputs)[judgeable]
    return Outcome(store.labels[judgeable], hits, accepted)


def guided(inputs: Inputs, guidance: float | None) -> dict[str, dict[str, Any]]:
    """`synthesize.sampling` with the generator's guidance changed."""
    sampling = {name: dict(options) for name, options in inputs.synthesize.sampling.items()}
    if guidance is not None:
        sampling[inputs.generator.name]["guidance"] = guidance
    return sampling


def _copy(rows: Iterator[Row], out: Path, names: tuple[str, ...], chosen: npt.NDArray[np.bool_]) -> None:
    with ShardWriter(out, names) as writer:
        for row, wanted in zip(rows, chosen, strict=True):
            if wanted:
                writer.add(row)


def _plan_for(path: Path, seen: npt.NDArray[np.bool_], names: tuple[str, ...], out: Path) -> Path:
    """The plan, with nothing for a class of which no image is left to learn from."""
    planned = plans.read(path)
    entries: Mapping[str, Any] = {
        name: vars(planned[name]) if there else {"real": 0, "augment": 0, "synthesize": 0}
        for name, there in zip(names, seen, strict=True)
    }
    write_json(out, entries)
    return out


def _take(drawn: Path, out: Path, way: Way, planned: dict[str, plans.ClassPlan]) -> int:
    """The first images of each class, as many as the way's multiple says, with its weight."""
    data = Dataset.open(drawn)
    limits = [round(way.multiple * planned[name].synthesize) for name in data.class_names]
    taken = np.zeros(len(limits), dtype=np.int64)
    with ShardWriter(out, data.class_names) as writer:
        for row in data.rows():
            if taken[row.label] < limits[row.label]:
                taken[row.label] += 1
                writer.add(replace(row, weight=way.weight))
    return int(taken.sum())


def _hits(added: tuple[Path, ...], kept: Path, held: PixelStore, num_seeds: int, inputs: Inputs) -> Hits:
    """Share of classifiers, trained on real and added images, that are right about each left-out image."""
    how, total = inputs.classifier, np.zeros(len(held))
    train = (kept, *added)
    for number in range(num_seeds):
        seed = derive(how.seed, "tune", number)
        network, _ = fit_arm(train, inputs.source, how, seed, "tune")
        logits, _ = logits_and_features(network, held.images())
        total += logits.argmax(1).numpy() == held.labels
    return total / num_seeds
