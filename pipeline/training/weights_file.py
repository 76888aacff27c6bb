"""A file of weights that a user names, read once: what is checked is what is taken."""

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from pipeline.errors import UserError

WRAPPERS = ("state_dict", "model_state_dict", "model", "module", "net")  # what checkpoints keep the weights under


def read_weights(path: Path, sha256: str | None, where: str, expected_by: str) -> dict[str, Tensor]:
    """The weights in a file: .safetensors, or .pth and .pt without code in them.

    Args:
        sha256: of the file, if that is to be checked.
        where: what names the file, such as "params.yaml: train_source.weights".
        expected_by: what names the sha256, such as "train_source.weights_sha256".

    Raises:
        UserError: there is no such file, its sha256 is another, or it holds something else.
    """
    place = f"{where}: {path}"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{place}: can't be read ({error.strerror or error})") from None
    if sha256 is not None and (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise UserError(f"{place}: its sha256 is {found}, not {sha256} as {expected_by} says")
    try:
        if path.suffix == ".safetensors":
            return load(content)
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"{place}: is no safetensors file ({error})") from None
    except (RuntimeError, ValueError, KeyError, EOFError, AttributeError, UnpicklingError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"{place}: is no file of weights alone ({said}); code in a file is never run") from None
    return _tensors(held, place)


def _tensors(content: Any, place: str) -> dict[str, Tensor]:
    """The weights in what a file held, whatever they are wrapped in."""
    while isinstance(content, Mapping) and not any(isinstance(value, Tensor) for value in content.values()):
        inner = next((content[key] for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            break
        content = inner
    tensors = {str(key): value for key, value in content.items() if isinstance(value, Tensor)} if content else {}
    if not tensors:
        raise UserError(f"{place}: holds no weights; expected names and tensors, in a {' or '.join(WRAPPERS)} or bare")
    return tensors
