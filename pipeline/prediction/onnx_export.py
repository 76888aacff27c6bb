"""Writes an arm to take home: one ONNX file of all its networks, their weights, and what must be known to ask it.

One file for the mean rather than one a network: what is asked for is one answer, and a mean that is inside the file
cannot be taken wrongly. `--seed` writes a single network.
"""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import torch

from pipeline.atomic import new_folder, write_json
from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.prediction.ensemble import Arm, Ensemble
from pipeline.prediction.onnx_file import INPUT, KEY, OUTPUTS, About, session_of

ONNX_FILE, ABOUT_FILE = "model.onnx", "model.json"
CHECKED_BATCHES = (1, 2, 5)
RTOL, ATOL = 1e-3, 1e-4


def write(arm: Arm, to: Path) -> None:
    """Writes `model.onnx`, `model.json` and the weights of each network into the new folder `to`.

    Raises:
        UserError: the arm's networks can't be written, or onnxruntime answers otherwise than torch.
    """
    about = About(
        class_names=arm.class_names,
        shape=arm.shape,
        values=f"0 (black) to 255, {'grey' if arm.shape.channels == 1 else 'red, green, blue'}",
        temperature=arm.temperature,
        calibration=arm.use.calibration,
        validation_images=arm.use.validation_images,
        networks=arm.names,
    )
    ensemble = arm.build()
    with new_folder(to) as folder:
        export(ensemble, about, folder / ONNX_FILE)
        refuse_other_answers(ensemble, arm.shape, folder / ONNX_FILE)
        write_json(folder / ABOUT_FILE, about.to_json())
        for name in arm.names:
            shutil.copyfile(arm.root / f"{name}.safetensors", folder / f"{name.rpartition('/')[2]}.safetensors")


def export(ensemble: Ensemble, about: About, path: Path) -> None:
    """Writes the ONNX file alone, for any number of images at once.

    Raises:
        UserError: the networks do what ONNX can't say.
    """
    batch = torch.export.Dim("batch")
    with warnings.catch_warnings():
        # torch's own tracing asks its trees in a way that it calls deprecated itself
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning)
        try:
            program = torch.onnx.export(
                ensemble,
                (torch.from_numpy(_noise(2, about.shape)),),
                input_names=[INPUT],
                output_names=OUTPUTS,
                dynamic_shapes=({0: batch},),
                dynamo=True,
                verbose=False,
            )
        except (torch.onnx.OnnxExporterError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise UserError(f"export_model: these networks cannot be written as ONNX ({reason})") from None
    assert program is not None, "the exporter gave nothing"
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # lines of code and folders of this machine
    program.model.metadata_props[KEY] = json.dumps(about.to_json(), ensure_ascii=False)
    program.save(path)


def refuse_other_answers(ensemble: Ensemble, shape: Shape, path: Path) -> None:
    """Asks the file and the networks about the same images, in batches of several sizes.

    Raises:
        UserError: they differ.
    """
    session = session_of(path)
    for size in CHECKED_BATCHES:
        images = _noise(size, shape)
        with torch.inference_mode():
            wanted = [values.numpy() for values in ensemble(torch.from_numpy(images))]
        for name, one, other in zip(OUTPUTS, wanted, session.run(OUTPUTS, {INPUT: images}), strict=True):
            if one.shape != other.shape or not np.allclose(one, other, RTOL, ATOL):
                raise UserError(
                    f"export_model: onnxruntime's {name} of {size} images differ from torch's by up to "
                    f"{np.abs(one - other).max():.2g}; nothing was written"
                )


def _noise(number: int, shape: Shape) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Images of noise, from dark to light, uint8 [N, C, H, W]."""
    rng = np.random.default_rng(number)
    images = rng.integers(0, 256, (number, shape.channels, shape.size, shape.size))
    light = np.linspace(0.2, 1.0, number).reshape(-1, 1, 1, 1)
    return (images * light).astype(np.uint8)
