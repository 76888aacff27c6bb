"""Carries a source network's architecture and weights to the target task, and says what was taken."""

import hashlib
import json
import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline import backbones
from pipeline.atomic import new_folder, write_json
from pipeline.backbones import Network
from pipeline.errors import UserError
from pipeline.params import did_you_mean

How = Literal["feature", "structure", "parameter"]
Report = dict[str, list[str]]  # names of weights that were taken, adapted and left fresh


@dataclass(frozen=True)
class Task:
    """What a network was built for."""

    backbone: str
    options: dict[str, Any]
    in_channels: int
    class_names: tuple[str, ...]
    head: str = "linear"
    head_options: dict[str, Any] = field(default_factory=dict)

    def build(self, seed: int) -> Network:
        """A fresh network for the task."""
        classes = max(1, len(self.class_names))  # without classes the head is there, and nobody takes it
        return backbones.create(
            self.backbone, self.options, self.in_channels, classes, seed, self.head, self.head_options
        )


def save(
    folder: Path,
    task: Task,
    networks: dict[str, Network],
    more: dict[str, Any] | None = None,
    without: Collection[str] = (),
) -> None:
    """Writes `task.json`, a safetensors file for each network (names may hold folders) and `more` JSON files.

    Args:
        without: weights that are not written: those that have learned nothing, for nobody to take them.
    """
    with new_folder(folder) as out:
        for file, content in {"task.json": vars(task), **(more or {})}.items():
            write_json(out / file, content)
        for name, network in networks.items():
            path = out / f"{name}.safetensors"
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {key: value for key, value in network.state_dict().items() if key not in without}
            save_file({key: value.contiguous() for key, value in kept.items()}, path)


def digest(folder: Path) -> str:
    """sha256 over the files of a model, but for figures and the like that lie in its folder."""
    total = hashlib.sha256()
    for path in [folder / "task.json", *sorted(folder.rglob("*.safetensors"))]:
        total.update(path.read_bytes() if path.exists() else b"")
    return total.hexdigest()


def load_task(folder: Path) -> Task:
    """Reads `task.json`.

    Raises:
        UserError: the folder holds no model of ours.
    """
    try:
        content = json.loads((folder / "task.json").read_text(encoding="utf-8"))
        return Task(**(content | {"class_names": tuple(content["class_names"])}))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder}: holds no model ({error}); has its stage run?") from None


def load_weights(folder: Path, name: str) -> dict[str, Tensor]:
    """Reads one network's weights.

    Raises:
        UserError: they are missing or damaged.
    """
    path = folder / f"{name}.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: holds no weights ({error})") from None


def has_weights(source: Path) -> bool:
    """Whether a source network has learned anything, or is an architecture only."""
    return (source / "weights.safetensors").exists()


def load(folder: Path, name: str) -> Network:
    """One trained network, ready to be asked."""
    network = load_task(folder).build(seed=0)
    network.load_state_dict(load_weights(folder, name))
    return network.eval()


def target_task(
    source: Path, in_channels: int, class_names: tuple[str, ...], structure: dict[str, Any] | None = None
) -> Task:
    """The target's task in the source's architecture, but for the options of the backbone that `structure` changes.

    Raises:
        UserError: the backbone has no such option.
    """
    task, changes = load_task(source), structure or {}
    for key in changes.keys() - task.options.keys():
        hint, known = did_you_mean(key, task.options) or ";", ", ".join(task.options)
        raise UserError(f"params.yaml: train_classifier.structure.{key}: unknown key{hint} {task.backbone} has {known}")
    return replace(task, options=task.options | changes, in_channels=in_channels, class_names=class_names)


def takes_weights(source: Path, how: How) -> bool:
    """Whether a target network starts from weights of the source's."""
    return how != "structure" and has_weights(source)


def transfer(
    source: Path,
    in_channels: int,
    class_names: tuple[str, ...],
    how: How,
    seed: int,
    structure: dict[str, Any] | None = None,
) -> tuple[Network, Report]:
    """A network for the target task that starts from the source's.

    Args:
        how: "structure" takes the architecture, with fresh weights; "parameter" also every weight that fits by name
            and shape, and "feature" no less than the whole trunk. The first convolution is summed over colours, or
            repeated, where only the channels differ; the head is taken where the classes are the same.
        structure: options of the backbone that the target's network has other than the source's.

    Returns:
        The network and the names of its weights that were taken, adapted and left fresh.

    Raises:
        UserError: "feature" is asked for and the source has learned nothing.
    """
    if how == "feature" and not has_weights(source):
        raise UserError(
            "params.yaml: train_classifier.transfer: feature needs a source that has learned something, and "
            "train_source had neither images nor weights; give it some, or take structure"
        )
    target = target_task(source, in_channels, class_names, structure).build(seed)
    report: Report = {"taken": [], "adapted": [], "fresh": []}
    state = target.state_dict()
    given = load_weights(source, "weights") if takes_weights(source, how) else {}
    if load_task(source).class_names != class_names:
        given = {name: value for name, value in given.items() if not name.startswith("head.")}
    for name, own in state.items():
        fate, value = fitted(name, own, given.get(name))
        report[fate].append(name)
        state[name] = value
    target.load_state_dict(state)
    return target, report


def fitted(name: str, own: Tensor, given: Tensor | None) -> tuple[str, Tensor]:
    """What becomes of one weight, given the source's: "taken", "adapted" where that has a standard answer, "fresh"."""
    if given is None:
        return "fresh", own
    if given.shape == own.shape:
        return "taken", given.to(own.dtype)
    if (
        _of_an_image(given)
        and _of_an_image(own)
        and given.shape[0] == own.shape[0]
        and given.shape[2:] == own.shape[2:]
    ):
        summed = given.sum(dim=1, keepdim=True)
        return "adapted", (summed / own.shape[1]).expand_as(own).to(own.dtype).clone()
    if name.endswith("pos_embed") and given.ndim == own.ndim == 3 and given.shape[2] == own.shape[2]:
        resized = _positions(given, own.shape[1])
        return ("fresh", own) if resized is None else ("adapted", resized.to(own.dtype))
    return "fresh", own


def _of_an_image(weight: Tensor) -> bool:
    """Whether it may be a convolution of the image itself, whose channels are colours."""
    return weight.ndim == 4 and weight.shape[1] in (1, 3)


def _positions(given: Tensor, number: int) -> Tensor | None:
    """Embeddings [1, N, D] of a square grid of patches, after those of tokens without a place, for another grid."""
    for tokens in range(6):  # a class token, and up to four registers or one of distillation
        old, new = math.isqrt(given.shape[1] - tokens), math.isqrt(number - tokens)
        if old and new and old**2 + tokens == given.shape[1] and new**2 + tokens == number:
            grid = given[:, tokens:].reshape(1, old, old, -1).permute(0, 3, 1, 2).float()
            grid = F.interpolate(grid, (new, new), mode="bicubic", align_corners=False, antialias=new < old)
            return torch.cat([given[:, :tokens].float(), grid.flatten(2).transpose(1, 2)], dim=1)
    return None
