"""Makes augmented images of real training images, as many a class as the plan says."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import field
from itertools import groupby, islice
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator, model_validator

from pipeline import pace
from pipeline import params as sections
from pipeline import plan as plans
from pipeline.atomic import new_folder, write_json
from pipeline.dataset import Dataset, Row, ShardWriter, make_row
from pipeline.errors import UserError
from pipeline.images import Pixels, decode_png
from pipeline.params import did_you_mean, section, unknown
from pipeline.progress import bar, log
from pipeline.seeds import derive
from pipeline.transforms import by_name, recipe
from pipeline.transforms.augmentation import augment_images
from pipeline.transforms.policy import MOVES, RECOLOURS, Policy, beyond, overridden, values_of
from pipeline.transforms.recipe import Recipe

CHUNK = 256  # images whose random numbers and matrices are made together
_WHERE = "params.yaml: augment"


@section
class Params:
    """Section `augment` of params.yaml.

    Attributes:
        policy: what happens to an image.
        limits: the most of a change that the labels survive; a policy beyond them is refused.
        per_class: values that count for one class instead of the policy's.
    """

    seed: Annotated[int, Field(ge=0)]
    weight: Annotated[float, Field(gt=0)]
    policy: Policy
    limits: dict[str, Annotated[float, Field(ge=0)]] = field(default_factory=dict)
    per_class: dict[str, dict[str, Any]] = field(default_factory=dict)

    @field_validator("limits")
    @classmethod
    def _of_changes(cls, limits: dict[str, float]) -> dict[str, float]:
        known = (*MOVES, *RECOLOURS)
        unlisted = [change for change in limits if change not in known]
        if unlisted:
            lines = [f"{_WHERE}.limits.{change}: unknown key{did_you_mean(change, known)}" for change in unlisted]
            raise ValueError("\n".join(lines))
        return limits

    @field_validator("per_class")
    @classmethod
    def _of_policies(cls, per_class: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        base = info.data.get("policy") or Policy()
        checked = [
            sections.validate(Policy, overridden(base, values), f"{_WHERE}.per_class.{name}")
            for name, values in per_class.items()
        ]
        problems = [line for _, lines in checked for line in lines]
        if problems:
            raise ValueError("\n".join(problems))
        return per_class

    @model_validator(mode="after")
    def _within_limits(self) -> "Params":
        problems = beyond(self.policy, self.limits, f"{_WHERE}.policy", "augment.limits")
        for name, values in self.per_class.items():
            place = f"{_WHERE}.per_class.{name}"
            policy = sections.build(Policy, overridden(self.policy, values), place)
            problems += beyond(policy, self.limits, place, "augment.limits")
        if problems:
            raise ValueError("\n".join(problems))
        return self


class Job(NamedTuple):
    """One image to make."""

    parent: Row
    pixels: Pixels
    seed: int


def run(train: Path, plan: Path, out: Path, metrics: Path, params: Params) -> None:
    """Writes the augmented images and how they were made; each row names its parent and its seed.

    Raises:
        UserError: `params.per_class` names no class, or a transform cannot be applied to these images.
    """
    real, planned = Dataset.open(train), plans.read(plan)
    wanted = np.array([planned[name].augment for name in real.class_names])
    made = dict.fromkeys(real.class_names, 0)
    how = recipe_of(params, real)
    start = time.monotonic()
    with (
        new_folder(out) as folder,
        ShardWriter(folder, real.class_names) as writer,
        bar("augment", int(wanted.sum()), "image") as shown,
    ):
        recipe.write(folder, how)
        for row in augmented(real, wanted, params, how):
            writer.add(row)
            made[real.class_names[row.label]] += 1
            shown.update()
    pace.record("augment", sum(made.values()), time.monotonic() - start)
    write_json(metrics, {"images": made})
    log(f"augment: {sum(made.values())} images of {sum(count > 0 for count in made.values())} classes")


def recipe_of(params: Params, real: Dataset) -> Recipe:
    """The policy of each class, tried on an image of the data set's kind.

    Raises:
        UserError: `params.per_class` names no class, or a transform cannot be applied to these images.
    """
    for name in params.per_class:
        if name not in real.class_names:
            raise UserError(f"{_WHERE}.per_class: {unknown('class', name, real.class_names)}")
    content = {
        "class_names": real.class_names,
        "policy": values_of(params.policy),
        "per_class": {name: overridden(params.policy, values) for name, values in params.per_class.items()},
    }
    how = sections.build(Recipe, content, _WHERE)
    for pixels in islice(real.images(), 1):
        for policy in (how.policy, *how.per_class.values()):
            by_name.check_on(policy.extra, pixels)
    return how


def augmented(real: Dataset, wanted: npt.NDArray[np.int64], params: Params, how: Recipe) -> Iterator[Row]:
    """Yields `wanted[label]` images of each class, spread evenly over its real ones, parent by parent."""
    jobs = _jobs(real, wanted, params.seed)
    for policy, alike in groupby(jobs, key=lambda job: how.policy_of(job.parent.label)):
        for chunk in _chunks(alike):
            made = augment_images([job.pixels for job in chunk], policy, [job.seed for job in chunk])
            for job, pixels in zip(chunk, made, strict=True):
                yield make_row(
                    pixels,
                    job.parent.label,
                    path=job.parent.path,
                    origin="augmented",
                    parent_id=job.parent.id,
                    seed=job.seed,
                    weight=params.weight,
                    group=job.parent.group,
                )


def _jobs(real: Dataset, wanted: npt.NDArray[np.int64], seed: int) -> Iterator[Job]:
    counts, place = real.class_counts(), np.zeros(real.num_classes, dtype=int)
    for row in real.rows():
        total, parents = int(wanted[row.label]), int(counts[row.label])
        copies = total // parents + (place[row.label] < total % parents)
        place[row.label] += 1
        pixels = decode_png(row.image)
        for copy in range(copies):
            yield Job(row, pixels, derive(seed, row.id, copy))


def _chunks(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    chunk: list[Job] = []
    for job in jobs:
        chunk.append(job)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
