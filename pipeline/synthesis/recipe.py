"""How a data set's synthetic images were made: kept beside its shards, enough to make each again bit for bit."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import generators, params
from pipeline.atomic import write_json
from pipeline.dataset import Row
from pipeline.errors import UserError
from pipeline.generators import Generator
from pipeline.params import section
from pipeline.training.batches import to_uint8

FILE = "recipe.json"


@section
class Recipe:
    """The generator, and how images were drawn from it.

    Attributes:
        class_names: a row's label is an index into them.
        generator_sha256: of the generator's files.
        sampling: guidance and the like, as its module's `Sampling` takes them.
    """

    class_names: list[str]
    generator: str
    generator_sha256: str
    sampling: dict[str, Any]


def of(model: Generator, folder: Path, class_names: Sequence[str], sampling: dict[str, dict[str, Any]]) -> Recipe:
    """The recipe of images that are drawn from the generator in a folder.

    Raises:
        UserError: `sampling` has no options for it, or wrong ones.
    """
    generators.sampling(model.name, sampling)
    content = {
        "class_names": list(class_names),
        "generator": model.name,
        "generator_sha256": fingerprint(folder),
        "sampling": sampling[model.name],
    }
    return params.build(Recipe, content, str(folder))


def fingerprint(folder: Path) -> str:
    """sha256 of all files of a generator's folder and their names."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        total.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        with path.open("rb") as file:
            while block := file.read(2**20):
                total.update(block)
    return total.hexdigest()


def write(folder: Path, recipe: Recipe) -> None:
    """Writes a recipe beside the shards."""
    write_json(folder / FILE, vars(recipe))


def read(folder: Path, generator: Path) -> Recipe:
    """Reads the recipe of a data set that was drawn from the generator in a folder.

    Raises:
        UserError: there is none, it is damaged, or the images were drawn from another generator.
    """
    path = folder / FILE
    recipe = params.stored(Recipe, path, "synthesize")
    found = fingerprint(generator)
    if found != recipe.generator_sha256:
        raise UserError(f"{path}: its images come from a generator with sha256 {recipe.generator_sha256}, not {found}")
    return recipe


def draw(
    model: Generator,
    labels: npt.NDArray[np.int64],
    seeds: npt.NDArray[np.int64],
    recipe: Recipe,
    attributes: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.uint8]:
    """Images of the given classes and values of the attribute, uint8 [N, C, H, W].

    Image i follows from `labels[i]`, `seeds[i]`, `attributes[i]` and the recipe alone.
    """
    sampling = generators.sampling(recipe.generator, {recipe.generator: recipe.sampling})
    return to_uint8(model.sample(labels, seeds, sampling, attributes))


def rebuild(rows: Sequence[Row], model: Generator, recipe: Recipe) -> npt.NDArray[np.uint8]:
    """Makes the images of rows again, uint8 [N, C, H, W]."""
    labels, seeds = (np.array([getattr(row, name) for row in rows], dtype=np.int64) for name in ("label", "seed"))
    value_of = {name: value for value, name in enumerate(model.attributes, start=1)}
    attributes = np.array([value_of.get(row.group or "", 0) for row in rows], dtype=np.int64)
    return draw(model, labels, seeds, recipe, attributes)
