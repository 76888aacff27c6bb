"""An exported classifier, asked by onnxruntime alone; what it must be told stands in the file itself."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.params import validate
from pipeline.prediction.model import Model

KEY = "counterweight"  # of the file's metadata, under which `About` stands
INPUT, OUTPUTS = "images", ("probabilities", "logits")


@dataclass(frozen=True, kw_only=True)
class About:
    """What whoever asks the classifier must know.

    Attributes:
        class_names: in the order of the outputs.
        shape: what an image must be brought to first: centre cut out ("crop") or black added ("pad"), then scaled.
        input: name, type and axes of the input.
        values: what the input's numbers are.
        outputs: names of the outputs, both [batch, classes].
        temperature: probabilities are softmax(logits / temperature).
        calibration: "temperature", or "none" where there were too few validation images to fit one.
        validation_images: number of images that it was fitted on.
        networks: whose mean is taken.
    """

    class_names: tuple[str, ...]
    shape: Shape
    input: str = f"{INPUT}: uint8 [batch, channels, height, width]"
    values: str
    outputs: tuple[str, ...] = OUTPUTS
    temperature: float
    calibration: str
    validation_images: int
    networks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def open_file(path: Path) -> Model:
    """An exported classifier, ready to be asked on the CPU.

    Raises:
        UserError: the file is no ONNX file, or was not written by `export_model`.
    """
    session = session_of(path)
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    about, problems = validate(About, json.loads(text), str(path)) if text else (None, ["is missing"])
    if about is None:
        raise UserError(f"{path}: does not say its classes ({problems[0]}); expected a file that export_model wrote")

    def ask(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probs: NDArray[np.float32] = session.run(OUTPUTS[:1], {INPUT: np.ascontiguousarray(images)})[0]
        return probs

    return Model(about.class_names, about.shape, str(path), ask)


def session_of(path: Path) -> Any:
    """A file opened by onnxruntime.

    Raises:
        UserError: it is no ONNX file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; what it has to say is told in a line below
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no parent but this
        raise UserError(f"{path}: is no ONNX file ({' '.join(str(error).split())[:160]})") from None
