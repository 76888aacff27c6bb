"""Strategies of the plan: how many images each class is to get. One file each; the folder is the registry.

A strategy module has
    Params: its options, a section of params.yaml;
    plan(situation, limits, params) -> (augment, synthesize), int64 [C] each, within the limits of `most`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline import registry
from pipeline.errors import UserError
from pipeline.metrics.bias.learning_curve import Curves
from pipeline.params import did_you_mean, section
from pipeline.plan import ClassPlan

KIND = "strategy"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Situation:
    """What a strategy may look at: training images only.

    Attributes:
        counts: real images of each class, [C], at least 1.
        reference: share of each class in reality, [C], if the user gave it.
        curves: expected error of each class by its number of images.
        worth: share of a real image's effect that an added one is taken to have.
    """

    counts: Ints
    reference: Floats | None
    curves: Curves
    worth: float


@dataclass(frozen=True)
class Limits:
    """What holds for every strategy.

    Attributes:
        target: what each class is brought to, in sizes of the largest class.
        augment_share: share of what a class gets that is augmented; the rest is synthesised.
        max_augment, max_synthesize: at most so many images for each real one of the class.
    """

    target: float
    augment_share: float
    max_augment: float
    max_synthesize: float

    def most(self, counts: Ints) -> tuple[Ints, Ints]:
        """How many images of each class may be augmented and synthesised, [C] each."""
        return (self.max_augment * counts).astype(np.int64), (self.max_synthesize * counts).astype(np.int64)


@section
class Override:
    """What the user wants for a class, whatever the strategy says; what is not given is the strategy's."""

    augment: Annotated[int, Field(ge=0)] | None = None
    synthesize: Annotated[int, Field(ge=0)] | None = None


def check_classes(overrides: Iterable[str], names: tuple[str, ...]) -> None:
    """Checks the classes that `overrides` names.

    Raises:
        UserError: a class is none of the data set's; names every one.
    """
    problems = [
        f"params.yaml: analyze_bias.overrides: unknown class {given!r}"
        + (did_you_mean(given, names) or f"; known: {', '.join(names)}")
        for given in overrides
        if given not in names
    ]
    if problems:
        raise UserError("\n".join(problems))


def make(
    name: str,
    options: Mapping[str, dict[str, Any]],
    names: tuple[str, ...],
    situation: Situation,
    limits: Limits,
    overrides: Mapping[str, Override],
) -> dict[str, ClassPlan]:
    """The plan of the strategy `name`, with the user's own numbers in the place of its.

    Raises:
        UserError: no such strategy, or wrong options.
    """
    module, params = registry.chosen(__name__, name, options.get(name, {}), "params.yaml: analyze_bias.strategies")
    augment, synthesize = module.plan(situation, limits, params)
    plan = {}
    for label, class_name in enumerate(names):
        own = overrides.get(class_name, Override())
        plan[class_name] = ClassPlan(
            int(situation.counts[label]),
            int(augment[label]) if own.augment is None else own.augment,
            int(synthesize[label]) if own.synthesize is None else own.synthesize,
        )
    return plan


@dataclass(frozen=True)
class Cost:
    """What a plan costs, and what it is expected to give.

    Attributes:
        bytes: stored, if added images are as large as the real ones of their class.
        error_before, error_after: expected mistakes of the quick classifier, mean over classes.
    """

    augment: int
    synthesize: int
    bytes: int
    error_before: float
    error_after: float


def cost(plan: Mapping[str, ClassPlan], situation: Situation, bytes_each: Floats) -> Cost:
    """The cost of a plan; `bytes_each` is the mean size of a class's stored images, [C]."""
    augment = np.array([entry.augment for entry in plan.values()], dtype=np.int64)
    synthesize = np.array([entry.synthesize for entry in plan.values()], dtype=np.int64)
    added = augment + synthesize
    sizes = situation.counts.astype(np.float64)
    before, after = (situation.curves.error(size) for size in (sizes, sizes + situation.worth * added))
    stored = round(float((added * bytes_each).sum()))
    return Cost(int(augment.sum()), int(synthesize.sum()), stored, float(before.mean()), float(after.mean()))


def shortages(situation: Situation, target: float, toward: str) -> Ints:
    """Images that each class lacks of `target` times what it would have beside the best-supplied class, [C].

    The best-supplied class is the largest where classes are to be even, and the one with the most images for its share
    where they are to follow the reference.
    """
    shares = np.ones(len(situation.counts)) if toward == "even" else situation.reference
    assert shares is not None, "checked when params.yaml is read"
    held = shares > 0
    supply = float((situation.counts[held] / shares[held]).max())
    goal = np.rint(target * supply * shares).astype(np.int64)
    return np.asarray(np.maximum(0, goal - situation.counts))
