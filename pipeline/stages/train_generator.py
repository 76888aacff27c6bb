"""Trains the generator on real and augmented training images, and on the source domain if its classes are the same."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import save_file

from pipeline import generators, registry
from pipeline.atomic import new_folder, write_json, write_text
from pipeline.dataset import Dataset, PixelStore
from pipeline.generators import Generator
from pipeline.params import section
from pipeline.progress import log
from pipeline.seeds import derive
from pipeline.training import loop
from pipeline.training.batches import (
    Batch,
    class_balanced_probs,
    concatenate,
    epoch_rows,
    gather,
    to_float,
    weighted_rows,
)
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import device, threads_for
from pipeline.training.loop import Point, Schedule, train
from pipeline.transforms.augmentation import augment_batch
from pipeline.transforms.policy import Policy

REMEMBERED = 1000


@section
class Params:
    """Section `train_generator` of params.yaml.

    Attributes:
        name: the generator, a file of `pipeline/generators`.
        generators: options of each.
        class_balance: 0 draws images as they come, 1 every class as often.
        source_share: share of a batch that comes from the source domain, where its classes are the same.
    """

    name: str
    generators: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.generators", "name", "params.yaml: train_generator.generators"),
    ]
    seed: Annotated[int, Field(ge=0)]
    schedule: Schedule
    class_balance: Annotated[float, Field(ge=0, le=1)]
    source_share: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Policy


def run(train_data: tuple[Path, ...], source: Path, out: Path, metrics: Path, curve: Path, params: Params) -> None:
    """Trains until the schedule ends; killed half-way, the next run goes on from the last checkpoint."""
    data, domain = Dataset.open(*train_data), Dataset.open(source)
    store = PixelStore(data)
    shared = domain.num_rows > 0 and domain.class_names == data.class_names and domain.image_shape == data.image_shape
    source_store = PixelStore(domain) if shared and params.source_share else None
    options = params.generators[params.name]
    generator = generators.create(params.name, options, store.image_shape, data.num_classes, params.seed)
    work = [params, data.digest, domain.digest if source_store else None]
    checkpoint = Checkpoint(work, [registry.get("pipeline.generators", params.name), loop])
    batch_at = _batches(store, source_store, params)
    with threads_for(store.image_shape):
        trained, points = train(
            generator.to(device()),
            batch_at,
            params.schedule,
            seed=params.seed,
            label="train_generator",
            checkpoint=checkpoint,
        )
        model: Generator = trained  # type: ignore[assignment]
        if source_store is not None:
            for label in range(data.num_classes):
                rows = np.flatnonzero(source_store.labels == label)[:REMEMBERED]
                model.remember(to_float(source_store.images(rows)).to(device()), label)
    task = {
        "generator": params.name,
        "options": options,
        "image_shape": store.image_shape,
        "class_names": data.class_names,
    }
    with new_folder(out) as folder:
        save_file(
            {key: value.cpu().contiguous() for key, value in trained.state_dict().items()},
            folder / "weights.safetensors",
        )
        (folder / "task.json").write_text(json.dumps(task, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    last = {point.player: round(point.loss, 6) for point in points[-len(generator.players()) :]}
    write_json(metrics, {"final_loss": last, "images": len(store), "source_images": len(source_store or ())})
    write_text(curve, _table(points))
    log(f"train_generator: {params.name}, {params.schedule.steps} steps, final loss {last}")


def _batches(store: PixelStore, source: PixelStore | None, params: Params) -> Callable[[int], Batch]:
    cumulative = np.cumsum(class_balanced_probs(store.labels, params.class_balance) * store.weights)
    size = params.schedule.batch_size
    from_source = round(size * params.source_share) if source is not None else 0

    def batch_at(step: int) -> Batch:
        rows = weighted_rows(cumulative, size - from_source, derive(params.seed, "rows"), step)
        rng = torch.Generator().manual_seed(derive(params.seed, "augmentation", step))
        batch = gather(store, rows)
        batch = batch._replace(images=augment_batch(batch.images, params.augmentation, rng))
        if source is None:
            return batch
        extra = gather(source, epoch_rows(len(source), from_source, derive(params.seed, "source"), step))
        return concatenate(batch, extra._replace(domains=torch.ones_like(extra.labels)))

    return batch_at


def _table(points: list[Point]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", "player", "loss"])
    table.writerows([point.step, point.player, f"{point.loss:.6g}"] for point in points)
    return text.getvalue()
