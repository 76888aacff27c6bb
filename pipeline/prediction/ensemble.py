"""The networks of an arm as one: the mean of their probabilities, under one temperature."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.backbones import Network
from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.prediction.model import Model
from pipeline.training.arm import classifiers
from pipeline.training.device import device
from pipeline.training.transfer import load, load_task
from pipeline.training.use import USE_FILE, Use, load_use


class Ensemble(nn.Module):
    """Networks as one classifier of images as they are stored."""

    def __init__(self, networks: Sequence[Network], temperature: float) -> None:
        super().__init__()
        self.networks, self.temperature = nn.ModuleList(networks), temperature

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [N, C, H, W] to probabilities [N, classes] and the logits that the temperature divides for them.

        These logits are the logarithms of the networks' mean probabilities.
        """
        floats = images.float() / 127.5 - 1.0
        logs = torch.stack([network(floats).log_softmax(dim=1) for network in self.networks])
        logits = logs.logsumexp(dim=0) - math.log(len(self.networks))
        return (logits / self.temperature).softmax(dim=1), logits


@dataclass(frozen=True)
class Arm:
    """Networks of one loss in a model's folder.

    Attributes:
        root: the folder that holds `task.json`.
        names: of the networks, "LOSS/seed-NUMBER".
        class_names: [C].
        use: how they are used.
        shape: what their images are brought to.
        temperature: of their mean.
    """

    root: Path
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    use: Use
    shape: Shape
    temperature: float

    @property
    def told(self) -> str:
        """What it is, in words."""
        fitted = f"temperature {self.temperature:.3g}, from {self.use.validation_images} validation images"
        networks = "1 network" if len(self.names) == 1 else f"the mean of {len(self.names)} networks"
        return f"{networks} of {self.root}, calibration: {fitted if self.use.temperatures else 'none'}"

    def build(self) -> Ensemble:
        """The networks, on the CPU."""
        return Ensemble([load(self.root, name) for name in self.names], self.temperature).eval()


def find_arm(folder: Path, seed: int | None = None) -> Arm:
    """The arm in a folder such as models/completed, or models/baseline/balanced_softmax where there are several.

    Raises:
        UserError: there is none, or more than one; it has no such seed; or it does not say how it is used.
    """
    root, loss = _place(folder)
    seeds = [int(path.stem.removeprefix("seed-")) for path in classifiers(root / loss)]
    if seed is not None and seed not in seeds:
        raise UserError(f"{folder}: has no network of seed {seed}; its seeds: {', '.join(map(str, seeds))}")
    names = tuple(f"{loss}/seed-{number}" for number in (seeds if seed is None else [seed]))
    use = load_use(root)
    if use.shape is None:
        raise UserError(f"{root / USE_FILE}: does not say what images are brought to; run ingest and this stage again")
    temperature = use.temperature(loss if seed is None else names[0])
    return Arm(root, names, load_task(root).class_names, use, use.shape, temperature)


def _place(folder: Path) -> tuple[Path, str]:
    """The folder with `task.json`, and the folder in it that holds the networks."""
    if not (folder / "task.json").exists() and list(folder.glob("seed-*.safetensors")):
        return folder.parent, folder.name
    load_task(folder)  # says in a line if it is none
    losses = sorted({path.parent.name for path in folder.glob("*/seed-*.safetensors")})
    if not losses:
        raise UserError(f"{folder}: holds no classifiers of an arm; models/completed does")
    if len(losses) > 1:
        one = folder / losses[0]
        raise UserError(f"{folder}: holds classifiers of {' and '.join(losses)}; name one, such as {one}")
    return folder, losses[0]


def open_arm(folder: Path, seed: int | None = None) -> Model:
    """An arm, ready to be asked on the device.

    Raises:
        UserError: as `find_arm`.
    """
    arm, where = find_arm(folder, seed), device()
    ensemble = arm.build().to(where)

    @torch.inference_mode()
    def ask(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        given = torch.from_numpy(images).to(where).contiguous(memory_format=torch.channels_last)
        probs: NDArray[np.float32] = ensemble(given)[0].cpu().numpy()
        return probs

    return Model(arm.class_names, arm.shape, arm.told, ask)
