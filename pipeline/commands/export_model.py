"""Writes a trained arm to be used elsewhere: one ONNX file with calibrated probabilities, and the weights."""

from pathlib import Path

from pipeline.commands.export import refuse_filled
from pipeline.progress import log


def run(to: Path, *, model: Path = Path("models/completed"), seed: int | None = None) -> None:
    """Writes model.onnx, model.json and weights (safetensors) of an arm into the new folder `to`.

    Args:
        model: the folder of an arm.
        seed: the one network to write; by default the mean of all.

    Raises:
        UserError: there is no such arm, `to` is not empty, or onnxruntime answers otherwise than torch.
    """
    refuse_filled(to)
    from pipeline.prediction import ensemble, onnx_export

    arm = ensemble.find_arm(model, seed)
    onnx_export.write(arm, to)
    log(f"export_model: {arm.told}; in {to}")
