"""Makes augmented images of real training images, as many a class as the plan says."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline import plan as plans
from pipeline.atomic import new_folder, write_json
from pipeline.dataset import Dataset, Row, ShardWriter, make_row
from pipeline.images import decode_png
from pipeline.params import section
from pipeline.progress import bar, log
from pipeline.seeds import derive
from pipeline.transforms import policy


@section
class Params:
    """Section `augment` of params.yaml."""

    seed: Annotated[int, Field(ge=0)]
    weight: Annotated[float, Field(gt=0)]
    policy: policy.Policy


def run(train: Path, plan: Path, out: Path, metrics: Path, params: Params) -> None:
    """Writes the augmented images; each row names its parent and its seed, from which it can be made again."""
    real, planned = Dataset.open(train), plans.read(plan)
    wanted = np.array([planned[name].augment for name in real.class_names])
    made = dict.fromkeys(real.class_names, 0)
    with (
        new_folder(out) as folder,
        ShardWriter(folder, real.class_names) as writer,
        bar("augment", int(wanted.sum()), "image") as shown,
    ):
        for row in augmented(real, wanted, params):
            writer.add(row)
            made[real.class_names[row.label]] += 1
            shown.update()
    write_json(metrics, {"images": made})
    log(f"augment: {sum(made.values())} images of {sum(count > 0 for count in made.values())} classes")


def augmented(real: Dataset, wanted: npt.NDArray[np.int64], params: Params) -> Iterator[Row]:
    """Yields `wanted[label]` images of each class, spread evenly over its real ones, parent by parent."""
    _, height, width = real.image_shape
    pipeline = policy.build(params.policy, height, width)
    counts, place = real.class_counts(), np.zeros(real.num_classes, dtype=int)
    for row in real.rows():
        total, parents = int(wanted[row.label]), int(counts[row.label])
        copies = total // parents + (place[row.label] < total % parents)
        place[row.label] += 1
        pixels = decode_png(row.image)
        for copy in range(copies):
            seed = derive(params.seed, row.id, copy)
            changed = policy.apply(pipeline, pixels, seed)
            yield make_row(
                changed, row.label, path=row.path, origin="augmented", parent_id=row.id, seed=seed, weight=params.weight
            )
