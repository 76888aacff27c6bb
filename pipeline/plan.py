"""The plan: how many images each class lacks and by which means each is to be had."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError


@dataclass(frozen=True)
class ClassPlan:
    """What is planned for one class; `real` counts training images."""

    real: int
    augment: int
    synthesize: int


def make(
    counts: dict[str, int], *, target: float, augment_share: float, max_augment: float, max_synthesize: float
) -> dict[str, ClassPlan]:
    """Plans each class's shortage against `target` times the largest class.

    `augment_share` of a shortage is to be augmented, at most `max_augment` times the real images; the rest is to be
    synthesised, at most `max_synthesize` times the real images.
    """
    goal = target * max(counts.values())
    plan = {}
    for name, real in counts.items():
        shortage = max(0, round(goal) - real)
        augment = min(round(augment_share * shortage), int(max_augment * real))
        plan[name] = ClassPlan(real, augment, min(shortage - augment, int(max_synthesize * real)))
    return plan


def read(path: Path) -> dict[str, ClassPlan]:
    """The plan that `analyze_bias` wrote.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: ClassPlan(**entry) for name, entry in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is no plan ({error}); the stage analyze_bias writes it") from None
