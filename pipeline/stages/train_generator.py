"""Trains the generator on real and augmented training images, and on the source domain if its classes are the same."""

import csv
import hashlib
import io
import shutil
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field
from safetensors.numpy import save_file
from torch import Tensor, nn

from pipeline import generators, registry
from pipeline.atomic import new_folder, write_json, write_text
from pipeline.dataset import Dataset, group_names, group_numbers
from pipeline.errors import UserError
from pipeline.images import encode_png
from pipeline.params import section
from pipeline.progress import log
from pipeline.training import generative
from pipeline.training.batches import to_uint8
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.device import launch, make_fabric, num_devices
from pipeline.training.generative import Work
from pipeline.training.loop import Point
from pipeline.training.schedule import Schedule
from pipeline.training.weights_file import read_weights
from pipeline.transforms.policy import Policy

CODE = ("dataset", "generators", "images.py", "seeds.py", "training", "transforms")  # that a checkpoint is of
ATTRIBUTE, MAX_ATTRIBUTES = "params.yaml: train_generator.attribute", 64
SHEET_CLASSES, SHEET_IMAGES = 20, 8
SHEET_MOMENTS = (0.125, 0.25, 0.5, 1.0)


@section
class Start:
    """A generator to start from: last night's, or one of another domain.

    Attributes:
        weights: its `weights.safetensors`; what fits by name and shape is taken.
        sha256: of that file, so that equal params mean equal results.
    """

    weights: Path
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@section
class Params:
    """Section `train_generator` of params.yaml.

    Attributes:
        name: the generator, a file of `pipeline/generators`.
        generators: options of each.
        attribute: what it learns beside the class: the group (site, camera, …) that the source names, or nothing.
        start: weights to start from instead of random ones.
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
    attribute: Literal["group"] | None = None
    start: Start | None = None


def run(
    train_data: tuple[Path, ...],
    val: Path,
    source: Path,
    out: Path,
    metrics: Path,
    curve: Path,
    samples: Path,
    params: Params,
) -> None:
    """Trains until the schedule ends; killed half-way, the next run goes on from the last checkpoint.

    Raises:
        UserError: the weights to start from are not those of `params.start`, the attribute has no value or too many, or
            the loss is no longer a number.
    """
    data, domain = Dataset.open(*train_data), Dataset.open(source)
    shared = domain.num_rows > 0 and domain.class_names == data.class_names and domain.image_shape == data.image_shape
    shared = shared and params.source_share > 0
    validated = Dataset.open(val).digest if params.schedule.check_every else None
    attributes = _attributes(data) if params.attribute else ()
    told = _digest(attributes, data, Dataset.open(val)) if attributes else None
    depends_on = [params, data.digest, domain.digest if shared else None, validated, told]
    checkpoint = Checkpoint(depends_on, CODE)
    options = params.generators[params.name]
    start = _start(params.start, params.name, options, data, attributes) if params.start else {}
    moments = sorted({max(1, round(share * params.schedule.steps)) for share in SHEET_MOMENTS})
    sheets = checkpoint.path.with_suffix(".sheets")
    work = Work(
        params.name,
        options,
        params.seed,
        params.schedule,
        params.class_balance,
        params.source_share,
        params.augmentation,
        train_data,
        val if validated else None,
        source if shared else None,
        attributes,
        start,
        {step: partial(write_sheet, sheets / f"{step:07d}.png", data.num_classes) for step in moments},
    )
    fabric = make_fabric(params.schedule.precision, num_devices())
    trained = launch(fabric, partial(generative.fit, work, checkpoint))
    _save(out, trained.weights, params.name, options, data, attributes)
    with new_folder(samples) as folder:
        for sheet in sorted(sheets.glob("*.png")):
            shutil.copyfile(sheet, folder / sheet.name)
    shutil.rmtree(sheets, ignore_errors=True)
    last = {point.player: round(point.loss, 6) for point in trained.points}  # of each player its last point stays
    images = {"images": data.num_rows, "source_images": domain.num_rows if shared else 0}
    write_json(metrics, {"final_loss": last, "steps": trained.points[-1].step, "started_from": len(start)} | images)
    write_text(curve, _table(trained.points))
    log(f"train_generator: {params.name}, {trained.points[-1].step} steps, final loss {last}")


def write_sheet(path: Path, num_classes: int, model: nn.Module) -> None:
    """Samples of the first classes, drawn in the generator's own default way, a row each, as a PNG.

    The values of the attribute take turns along a row.
    """
    shown = min(num_classes, SHEET_CLASSES)
    labels, seeds = np.repeat(np.arange(shown), SHEET_IMAGES), np.tile(np.arange(SHEET_IMAGES), shown)
    told = len(model.attributes)  # type: ignore[arg-type]
    values = 1 + seeds % told if told else None
    images = to_uint8(model.sample(labels, seeds, None, values))  # type: ignore[operator]
    rows = images.reshape(shown, SHEET_IMAGES, *images.shape[1:])
    sheet = rows.transpose(0, 3, 1, 4, 2).reshape(shown * images.shape[2], -1, images.shape[1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(np.ascontiguousarray(sheet[..., 0] if sheet.shape[2] == 1 else sheet)))


def _attributes(data: Dataset) -> tuple[str, ...]:
    """The groups that the generator is to learn."""
    names = group_names(data)
    if not names:
        raise UserError(f"{ATTRIBUTE}: the source names no group of any training image; take null")
    if len(names) > MAX_ATTRIBUTES:
        raise UserError(
            f"{ATTRIBUTE}: the source names {len(names)} groups of training images, at most {MAX_ATTRIBUTES} can be "
            "learned (sites or cameras, not patients); take null"
        )
    return names


def _digest(attributes: tuple[str, ...], *parts: Dataset) -> str:
    """sha256 over the values of the attribute that the images of data sets have."""
    values = [group_numbers(part, attributes) for part in parts]
    return hashlib.sha256(np.concatenate(values).tobytes()).hexdigest()


def _start(
    given: Start, name: str, options: dict[str, Any], data: Dataset, attributes: tuple[str, ...]
) -> dict[str, Tensor]:
    """The weights that fit the generator to be trained by name and shape."""
    where = "params.yaml: train_generator.start.weights"
    weights = read_weights(given.weights, given.sha256, where, "train_generator.start.sha256")
    own = generators.create(name, options, data.image_shape, data.num_classes, 0, attributes).state_dict()
    fitting = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
    log(f"train_generator: starts from {len(fitting)} of {len(own)} weights of {given.weights}")
    if not fitting:
        raise UserError(f"{where}: {given.weights}: none of its {len(weights)} weights fits this generator")
    return fitting


def _save(
    out: Path,
    weights: dict[str, npt.NDArray[Any]],
    name: str,
    options: dict[str, Any],
    data: Dataset,
    attributes: tuple[str, ...],
) -> None:
    task = {"generator": name, "options": options, "image_shape": data.image_shape, "class_names": data.class_names}
    task |= {"attributes": attributes} if attributes else {}
    with new_folder(out) as folder:
        save_file({key: np.asarray(value, order="C") for key, value in weights.items()}, folder / "weights.safetensors")
        write_json(folder / "task.json", task)


def _table(points: list[Point]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["step", "player", "loss"])
    table.writerows([point.step, point.player, f"{point.loss:.6g}"] for point in points)
    return text.getvalue()
