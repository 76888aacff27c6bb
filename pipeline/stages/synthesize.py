"""Draws synthetic images until the plan is filled, letting only those through that pass the gate."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator

from pipeline import generators
from pipeline import plan as plans
from pipeline.atomic import new_file, new_folder, write_json
from pipeline.dataset import Dataset, PixelStore, Row, ShardWriter, make_row
from pipeline.errors import UserError
from pipeline.gate import Reference, judge
from pipeline.generators import Generator
from pipeline.params import section
from pipeline.progress import bar, log
from pipeline.registry import check_options
from pipeline.seeds import derive
from pipeline.training.batches import to_uint8
from pipeline.training.device import device
from pipeline.training.folds import assign_folds
from pipeline.training.transfer import load, load_weights

DRAW = 256


@section
class Params:
    """Section `synthesize` of params.yaml.

    Attributes:
        max_draws: images drawn for each one wanted before a class is given up.
        weight: weight of a synthetic row in the classifier's loss.
        gate: the checks, in order, with their options; a check that is not named here is not made.
    """

    seed: Annotated[int, Field(ge=0)]
    weight: Annotated[float, Field(gt=0)]
    max_draws: Annotated[float, Field(ge=1, le=1000)]
    gate: dict[str, dict[str, Any]]

    @field_validator("gate")
    @classmethod
    def _known(cls, checks: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, options in checks.items():
            check_options("pipeline.gate", name, {name: options}, "params.yaml: synthesize.gate")
        return checks


@dataclass
class Tally:
    """What became of the draws for one class."""

    wanted: int
    accepted: int = 0
    drawn: int = 0
    refused: Counter[str] = field(default_factory=Counter)


def run(
    train: Path, generator: Path, folds: Path, plan: Path, out: Path, metrics: Path, table: Path, params: Params
) -> None:
    """Writes the accepted images; `metrics` and `table` say what was refused, and which classes fell short."""
    real, planned = Dataset.open(train), plans.read(plan)
    model = load_generator(generator)
    reference = _reference(real, folds)
    tallies = {name: Tally(planned[name].synthesize) for name in real.class_names}
    with (
        new_folder(out) as folder,
        ShardWriter(folder, real.class_names) as writer,
        bar("synthesize", sum(tally.wanted for tally in tallies.values()), "image") as shown,
    ):
        for label, tally in enumerate(tallies.values()):
            for row in _accepted(label, tally, model, reference, params):
                writer.add(row)
                shown.update()
    write_json(metrics, _summary(tallies))
    with new_file(table) as temporary:
        _table(tallies, list(params.gate)).to_csv(temporary, index=False)
    for name, tally in tallies.items():
        if tally.accepted < tally.wanted:
            log(f"synthesize: class {name!r} falls short: {tally.accepted} of {tally.wanted} after {tally.drawn} draws")
    total = sum((tally.refused for tally in tallies.values()), Counter[str]())
    log(f"synthesize: {sum(tally.accepted for tally in tallies.values())} accepted, refused: {dict(total) or 'none'}")


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
    model = generators.create(task["generator"], task["options"], shape, len(task["class_names"]), seed=0)
    model.load_state_dict(load_weights(folder, "weights"))
    return model.to(device()).eval()


def _reference(real: Dataset, folder: Path) -> Reference:
    store = PixelStore(real)
    names = sorted(path.stem for path in folder.glob("fold-*.safetensors"))
    if not names:
        raise UserError(f"{folder}: holds no fold classifiers; has train_baseline run?")
    settings = json.loads((folder / "folds.json").read_text(encoding="utf-8"))
    folds = assign_folds(store.labels, len(names), settings["seed"])
    return Reference(store.images(), store.labels, folds, [load(folder, name) for name in names], real.num_classes)


def _accepted(label: int, tally: Tally, model: Generator, reference: Reference, params: Params) -> Iterator[Row]:
    """Rows of one class until its quota is filled or its draws are used up; draw k has a seed of its own."""
    limit = int(tally.wanted * params.max_draws)
    while tally.accepted < tally.wanted and tally.drawn < limit:
        numbers = range(tally.drawn, min(tally.drawn + DRAW, limit))
        seeds = np.array([derive(params.seed, label, number) for number in numbers], dtype=np.int64)
        labels = np.full(len(seeds), label, dtype=np.int64)
        images = to_uint8(model.sample(labels, seeds))
        measures = reference.measure(images, labels)
        passed, reasons = judge(measures, reference, params.gate)
        quality = reference.quality(measures)
        for place in range(len(seeds)):
            if tally.accepted == tally.wanted:
                break
            tally.drawn += 1
            if not passed[place]:
                tally.refused[str(reasons[place])] += 1
                continue
            tally.accepted += 1
            pixels = images[place, 0] if images.shape[1] == 1 else images[place].transpose(1, 2, 0)
            yield make_row(
                np.ascontiguousarray(pixels),
                label,
                path=f"synthetic/{label}/{seeds[place]}.png",
                origin="synthetic",
                seed=int(seeds[place]),
                weight=params.weight,
                quality=float(quality[place]),
            )


def _summary(tallies: dict[str, Tally]) -> dict[str, Any]:
    accepted = sum(tally.accepted for tally in tallies.values())
    drawn = sum(tally.drawn for tally in tallies.values())
    return {
        "accepted": accepted,
        "drawn": drawn,
        "refused_share": round(1 - accepted / drawn, 6) if drawn else 0.0,
        "short": [name for name, tally in tallies.items() if tally.accepted < tally.wanted],
        "classes": {
            name: {
                "wanted": tally.wanted,
                "accepted": tally.accepted,
                "drawn": tally.drawn,
                "refused": dict(sorted(tally.refused.items())),
            }
            for name, tally in tallies.items()
        },
    }


def _table(tallies: dict[str, Tally], checks: list[str]) -> pd.DataFrame:
    rows = [
        {"class": name, "outcome": outcome, "images": count}
        for name, tally in tallies.items()
        for outcome, count in [("accepted", tally.accepted), *((check, tally.refused[check]) for check in checks)]
    ]
    return pd.DataFrame(rows, columns=["class", "outcome", "images"])
