"""How a data set's augmented images were made: kept beside its shards, enough to make each again bit for bit."""

from pathlib import Path
from typing import Any

from pipeline import params
from pipeline.atomic import write_json
from pipeline.dataset import Row
from pipeline.images import Pixels
from pipeline.params import section
from pipeline.transforms.augmentation import augment_images
from pipeline.transforms.policy import Policy, values_of

FILE = "recipe.json"


@section
class Recipe:
    """The policy, and the classes that have one of their own.

    Attributes:
        class_names: a row's label is an index into them.
        per_class: by name of the class.
    """

    class_names: list[str]
    policy: Policy
    per_class: dict[str, Policy]

    def policy_of(self, label: int) -> Policy:
        """The policy of a class."""
        return self.per_class.get(self.class_names[label], self.policy)


def write(folder: Path, recipe: Recipe) -> None:
    """Writes a recipe beside the shards."""
    content: dict[str, Any] = {
        "class_names": recipe.class_names,
        "policy": _stored(recipe.policy),
        "per_class": {name: _stored(policy) for name, policy in recipe.per_class.items()},
    }
    write_json(folder / FILE, content)


def read(folder: Path) -> Recipe:
    """Reads the recipe of a data set.

    Raises:
        UserError: there is none, or it is damaged.
    """
    return params.stored(Recipe, folder / FILE, "augment")


def _stored(policy: Policy) -> dict[str, Any]:
    """All values, and no name, so that the file that it was named after may change or go."""
    return {key: value for key, value in values_of(policy).items() if key != "name"}


def rebuild(row: Row, parent: Pixels, recipe: Recipe) -> Pixels:
    """Makes the image of a row again from the pixels of the row `parent_id`."""
    assert row.seed is not None, "only made images have a seed"
    return next(augment_images([parent], recipe.policy_of(row.label), [row.seed]))
