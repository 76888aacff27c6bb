"""Checkpoints of a running training, as safetensors; they live outside the outputs and go when the training is done.

`COUNTERWEIGHT_CHECKPOINTS` names the folder (default `.counterweight/checkpoints`), a file's name is a hash of
everything that the training depends on: a retry of the same work resumes, other work never does.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline import code
from pipeline.atomic import new_file, remove_left
from pipeline.progress import log

INTERVAL_S = 30.0
State = Mapping[str, nn.Module | torch.optim.Optimizer | Tensor]


class Checkpoint:
    """One training's checkpoint.

    Args:
        work: what the result depends on, JSON-able: params, data digests, seed.
        parts: modules and packages of ours that the result depends on, as `code.digest` takes them.
        interval_s: seconds between two saves.
    """

    def __init__(self, work: Any, parts: Sequence[str], interval_s: float | None = None) -> None:
        folder = Path(os.environ.get("COUNTERWEIGHT_CHECKPOINTS") or ".counterweight/checkpoints")
        text = json.dumps(work, sort_keys=True, default=str) + code.digest(parts)
        self.path = folder / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"
        self._interval_s = INTERVAL_S if interval_s is None else interval_s
        self._saved_at = time.monotonic()

    def save_if_due(self, state: Callable[[], State], step: int) -> None:
        """Saves after `step` updates if the last save is long enough ago."""
        if time.monotonic() - self._saved_at >= self._interval_s:
            self._save(state(), step)
            self._saved_at = time.monotonic()

    def save_if_begun(self, state: Callable[[], State], step: int) -> None:
        """Saves after `step` updates if it was saved before: what took long is not done twice."""
        if self.path.exists():
            self._save(state(), step)

    def _save(self, state: State, step: int) -> None:
        tensors = _flatten(state) | _rng_state() | {"step": torch.tensor(step)}
        with new_file(self.path) as temporary:
            save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, temporary)

    def load(self, state: State) -> int:
        """Brings `state` to where the checkpoint left it; returns the number of updates done, 0 without one."""
        if not self.path.exists():
            return 0
        try:
            tensors = load_file(self.path)
        except (SafetensorError, OSError) as error:
            log(f"checkpoint {self.path.name[:12]}… is damaged ({error}); starting anew")
            self.path.unlink(missing_ok=True)
            return 0
        _restore(state, tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and torch.cuda.is_available():
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        step = int(tensors["step"])
        log(f"resuming after {step} steps from checkpoint {self.path.name[:12]}…")
        return step

    def remove(self) -> None:
        """Forgets the checkpoint: the training is done."""
        self.path.unlink(missing_ok=True)
        remove_left(self.path)


def _rng_state() -> dict[str, Tensor]:
    state = {"rng.cpu": torch.get_rng_state()}
    return state | ({"rng.cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def _flatten(state: State) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, part in state.items():
        if isinstance(part, nn.Module):
            tensors |= {f"{name}/{key}": value for key, value in part.state_dict().items()}
        elif isinstance(part, Tensor):
            tensors[f"{name}/"] = part
        else:
            for number, slots in part.state_dict()["state"].items():
                tensors |= {f"{name}/{number}/{slot}": value for slot, value in slots.items()}
    return tensors


def _restore(state: State, tensors: dict[str, Tensor]) -> None:
    for name, part in state.items():
        own = {key.partition("/")[2]: value for key, value in tensors.items() if key.partition("/")[0] == name}
        if isinstance(part, nn.Module):
            part.load_state_dict(own)
        elif isinstance(part, Tensor):
            part.copy_(own[""])
        else:
            slots: dict[int, dict[str, Tensor]] = {}
            for key, value in own.items():
                number, _, slot = key.partition("/")
                slots.setdefault(int(number), {})[slot] = value
            part.load_state_dict({"state": slots, "param_groups": part.state_dict()["param_groups"]})
