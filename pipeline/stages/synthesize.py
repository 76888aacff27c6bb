"""Draws synthetic images until the plan is filled, letting only those through that pass the gate."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import Field, field_validator
from torch import Tensor

from pipeline import generators, pace
from pipeline import plan as plans
from pipeline.atomic import new_folder, write_json, write_table
from pipeline.dataset import Dataset, PixelStore, Row, ShardWriter, make_row
from pipeline.errors import UserError
from pipeline.gate import Pictures, Reference, judge, real_pass
from pipeline.generators import MICRO_BATCH, Generator
from pipeline.metrics.fidelity import estimate
from pipeline.params import section
from pipeline.progress import bar, log
from pipeline.registry import check_options, names
from pipeline.seeds import derive
from pipeline.synthesis import outcome, recipe
from pipeline.synthesis.attributes import Attributes, How
from pipeline.synthesis.outcome import Tally
from pipeline.synthesis.recipe import Recipe
from pipeline.training.device import device
from pipeline.training.folds import folds_of
from pipeline.training.transfer import load, load_weights

MOSTLY = 0.75  # refused of what was drawn: from here on another generator is worth a try


@section
class Compared:
    """How the accepted images are compared with real ones.

    Attributes:
        num_resamples: of the bootstrap.
        max_images: of a class and kind that are compared at most.
    """

    num_resamples: Annotated[int, Field(ge=10, le=10000)]
    max_images: Annotated[int, Field(ge=10, le=10000)]


@section
class Params:
    """Section `synthesize` of params.yaml.

    Attributes:
        multiple: share of the plan's images that is made; 0 is no synthesis.
        max_draws: images drawn for each one wanted before a class is given up.
        weight: weight of a synthetic row in the classifier's loss.
        attribute: how often each value is drawn of the attribute that the generator learned beside the class, if any.
        gate: the checks, in order, with their options; a check that is not named here is not made.
        sampling: for each generator, how images are drawn from it.
    """

    seed: Annotated[int, Field(ge=0)]
    weight: Annotated[float, Field(gt=0)]
    multiple: Annotated[float, Field(ge=0, le=1)]
    max_draws: Annotated[float, Field(ge=1, le=1000)]
    attribute: How = "as_found"
    gate: dict[str, dict[str, Any]]
    sampling: dict[str, dict[str, Any]]
    fidelity: Compared

    @field_validator("gate")
    @classmethod
    def _known(cls, checks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in checks.items():
            check_options("pipeline.gate", name, {name: options}, "params.yaml: synthesize.gate")
        return checks

    @field_validator("sampling")
    @classmethod
    def _drawn_so(cls, options: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        generators.check_sampling(options)
        return options


def run(
    train: Path,
    generator: Path,
    folds: Path,
    plan: Path,
    out: Path,
    metrics: Path,
    table: Path,
    candidates: Path,
    fidelity: Path,
    params: Params,
) -> None:
    """Writes the accepted images.

    Args:
        metrics, table: what was refused, and which classes fell short.
        candidates: why each image was refused, and what was measured of it.
        fidelity: how like real images the accepted ones are.

    Raises:
        UserError: a folder holds no generator or no fold classifiers, or no `sampling` is given for the generator.
    """
    real, planned = Dataset.open(train), plans.read(plan)
    model = load_generator(generator)
    how = recipe.of(model, generator, real.class_names, params.sampling)
    source = Source(model, how, Attributes(model.attributes, real, params.attribute))
    reference = _reference(real, folds)
    tallies = {name: Tally(round(params.multiple * planned[name].synthesize)) for name in real.class_names}
    start = time.monotonic()
    with new_folder(out) as folder:
        recipe.write(folder, how)
        _fill(folder, tallies, source, reference, params)
    pace.record("synthesize", sum(tally.accepted for tally in tallies.values()), time.monotonic() - start)
    judgeable = {real.class_names[label] for label in reference.judgeable_classes}
    unjudged = [name for name, tally in tallies.items() if tally.drawn and name not in judgeable]
    real_passed = real_pass(reference, params.gate)
    write_json(metrics, outcome.summary(tallies, unjudged, real_passed))
    write_table(candidates, outcome.candidates(tallies.values(), real.frame(["id"])["id"].tolist()))
    write_table(table, outcome.outcomes(tallies, list(params.gate)))
    write_table(fidelity, outcome.fidelity(tallies))
    _tell(tallies, unjudged)
    _tell_real(real_passed)
    _advise(tallies, how.generator)


@dataclass(frozen=True)
class Source:
    """What candidates are drawn from: a generator, how it is sampled, and the attribute that it is told."""

    model: Generator
    recipe: Recipe
    attributes: Attributes

    def draw(self, label: int, seeds: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint8], list[str | None]]:
        """An image of the class for each seed, uint8 [N, C, H, W], and the value of the attribute that it shows."""
        labels, values = np.full(len(seeds), label, dtype=np.int64), self.attributes.draw(label, seeds)
        return recipe.draw(self.model, labels, seeds, self.recipe, values), self.attributes.names(values)


def load_generator(folder: Path) -> Generator:
    """The trained generator of a folder.

    Raises:
        UserError: the folder holds no generator.
    """
    try:
        task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: holds no generator ({error}); has train_generator run?") from None
    shape: tuple[int, int, int] = tuple(task["image_shape"])
    num_classes, attributes = len(task["class_names"]), task.get("attributes", ())
    model = generators.create(task["generator"], task["options"], shape, num_classes, 0, attributes)
    model.load_state_dict(load_weights(folder, "weights"))
    return model.to(device()).eval()


def _reference(real: Dataset, folder: Path) -> Reference:
    store = PixelStore(real)
    names = sorted(path.stem for path in folder.glob("fold-*.safetensors"))
    if not names:
        raise UserError(f"{folder}: holds no fold classifiers; has train_baseline run?")
    settings = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
    folds = folds_of(real, len(names), settings["seed"])
    return Reference(store.images(), store.labels, folds, [load(folder, name) for name in names], real.num_classes)


def _fill(folder: Path, tallies: dict[str, Tally], source: Source, reference: Reference, params: Params) -> None:
    """Writes the accepted images class by class, and what became of each draw into the tallies."""
    wanted = sum(tally.wanted for tally in tallies.values())
    with ShardWriter(folder, tuple(tallies)) as writer, bar("synthesize", wanted, "image") as shown:
        for label, (name, tally) in enumerate(tallies.items()):
            for row in _accepted(label, name, tally, source, reference, params):
                writer.add(row)
                shown.update()


def _accepted(
    label: int, name: str, tally: Tally, source: Source, reference: Reference, params: Params
) -> Iterator[Row]:
    """Rows of one class until its quota is filled or its draws are used up; draw k has a seed of its own."""
    limit = int(tally.wanted * params.max_draws)
    kept: Pictures | None = None
    features = []
    while tally.accepted < tally.wanted and tally.drawn < limit:
        numbers = range(tally.drawn, min(tally.drawn + MICRO_BATCH, limit))
        seeds = np.array([derive(params.seed, label, number) for number in numbers], dtype=np.int64)
        images, groups = source.draw(label, seeds)
        measures = reference.measure(images, np.full(len(seeds), label, dtype=np.int64), kept)
        passed, reasons = judge(measures, reference, params.gate)
        places = np.flatnonzero(passed)[: tally.wanted - tally.accepted]
        filled = len(places) == tally.wanted - tally.accepted
        tally.count(name, seeds, groups, reasons[: places[-1] + 1 if filled else len(seeds)].tolist(), measures)
        new = measures.pictures.take(places)
        kept = new if kept is None else kept.joined(new)
        features.append(measures.features[:, places])
        quality = reference.quality(measures)
        for place in places:
            yield _row(images[place], label, int(seeds[place]), groups[place], float(quality[place]), params.weight)
    if tally.accepted:
        tally.fidelity = _fidelity(label, reference, torch.cat(features, dim=1), params)


def _row(image: npt.NDArray[np.uint8], label: int, seed: int, group: str | None, quality: float, weight: float) -> Row:
    pixels = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    return make_row(
        np.ascontiguousarray(pixels),
        label,
        path=f"synthetic/{label}/{seed}.png",
        origin="synthetic",
        seed=seed,
        weight=weight,
        quality=None if np.isnan(quality) else quality,
        group=group,
    )


def _fidelity(label: int, reference: Reference, features: Tensor, params: Params) -> estimate.Fidelity:
    most = params.fidelity.max_images
    real = [left_out[:most] for left_out in reference.features_left_out(label)]
    synthetic = [one.double().numpy() for one in features[:, :most]]
    return estimate.fidelity(real, synthetic, params.fidelity.num_resamples, derive(params.seed, label, "fidelity"))


def _tell(tallies: dict[str, Tally], unjudged: list[str]) -> None:
    for name in unjudged:
        log(f"synthesize: no fold classifier saw class {name!r}; its images are only compared with others")
    for name, tally in tallies.items():
        if tally.accepted < tally.wanted:
            check, images = tally.refused.most_common(1)[0]
            short = f"{tally.accepted} of {tally.wanted} after {tally.drawn} draws; {check} refused {images}"
            log(f"synthesize: class {name!r} falls short: {short}")
    total = sum((tally.refused for tally in tallies.values()), Counter[str]())
    log(f"synthesize: {sum(tally.accepted for tally in tallies.values())} accepted, refused: {dict(total) or 'none'}")


def _tell_real(passed: pd.DataFrame) -> None:
    """What the gate would let through of real images, each class alike."""
    shares = passed.groupby("label").mean().mean()
    most = shares.drop("all").idxmin() if len(shares) > 1 else None
    strictest = f"; {most} alone {shares[most]:.0%}" if most else ""
    log(f"synthesize: of real images left out the gate would let {shares['all']:.0%} through{strictest}")


def _advise(tallies: dict[str, Tally], generator: str) -> None:
    drawn = sum(tally.drawn for tally in tallies.values())
    refused = drawn - sum(tally.accepted for tally in tallies.values())
    if refused > MOSTLY * drawn:
        others = " or ".join(name for name in names("pipeline.generators") if name != generator)
        log(
            f"synthesize: {refused / drawn:.0%} of what the {generator} drew was refused; other images may come of"
            f" {others} as train_generator.name in params.yaml, or of more steps"
        )
