"""How a model is used, which its folder says in `use.json`: the shape of its images, and temperatures."""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.errors import UserError
from pipeline.images import SHAPE_FILE, Shape
from pipeline.metrics.classification import calibration_error
from pipeline.metrics.temperature import fit_temperature, pooled, tempered
from pipeline.params import validate

USE_FILE = "use.json"
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Use:
    """How a model is used.

    Attributes:
        shape: what its images were brought to; None where the data set does not say.
        calibration: "temperature", or "none" where there were too few validation images.
        validation_images: number of images that the temperatures were fitted on.
        temperatures: of each network ("balanced_softmax/seed-0") and of the mean of a loss's ("balanced_softmax").
    """

    shape: Shape | None
    calibration: Literal["temperature", "none"]
    validation_images: int
    temperatures: dict[str, Annotated[float, Field(gt=0)]]

    def temperature(self, name: str) -> float:
        """The temperature of a network, or of a loss's networks together; 1 where none was fitted."""
        return self.temperatures.get(name, 1.0)

    def to_json(self) -> dict[str, Any]:
        """What `use.json` holds."""
        return asdict(self)


def describe(train: Path, logits: Mapping[str, NDArray[np.floating]], labels: Ints) -> Use:
    """Settles how networks are used that were trained on `train`.

    Args:
        logits: [N, C] of each network ("LOSS/seed-NUMBER") on the validation images; N may be 0.
        labels: [N].
    """
    asked = {**logits, **{loss: pooled(values) for loss, values in by_loss(logits).items()}}
    fitted = {name: fit_temperature(values, labels) for name, values in asked.items()}
    temperatures = {name: value for name, value in fitted.items() if value is not None}
    path = train / SHAPE_FILE
    shape = Shape(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
    return Use(
        shape=shape,
        calibration="temperature" if temperatures else "none",
        validation_images=len(labels),
        temperatures=temperatures,
    )


def by_loss(logits: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    """The logits of each loss's networks, [S, N, C]."""
    found = defaultdict(list)
    for name, values in logits.items():
        found[name.partition("/")[0]].append(values)
    return {loss: np.stack(values) for loss, values in found.items()}


def calibration_figures(use: Use, logits: Mapping[str, NDArray[np.floating]], labels: Ints) -> dict[str, Any]:
    """What calibration did to the mean of each loss's networks on the validation images that it was fitted on.

    `evaluate` says what it does on images that nothing was fitted on.
    """
    figures = {}
    for loss, values in by_loss(logits).items():
        if loss in use.temperatures:
            mean = pooled(values)[None]
            before, after = (calibration_error(labels, tempered(mean, T))[0] for T in (1.0, use.temperature(loss)))
            figures[loss] = {
                "temperature": use.temperature(loss),
                "val_calibration_error": {"before": round(float(before), 6), "after": round(float(after), 6)},
            }
    return figures


def load_use(folder: Path) -> Use:
    """Reads `use.json` of a model's folder.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / USE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run the stage that trains this model") from None
    use, problems = validate(Use, content, str(path))
    if use is None:
        raise UserError(problems[0])
    return use
