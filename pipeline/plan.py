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
