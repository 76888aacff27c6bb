"""Weights that others have published, under timm's names, or ours, for a network of ours.

The names of torchvision's ResNets and Inception are timm's too; those of its transformers and ConvNeXts are not.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline import torchvision_ops
from pipeline.backbones import Network
from pipeline.errors import UserError
from pipeline.training.transfer import Report, fitted
from pipeline.training.weights_file import read_weights

WHERE = "params.yaml: train_source.weights"
TIMM = "timm:"
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")  # what wrappers of a network put before each name
HEADS = ("AuxLogits", "classifier", "fc", "head", "heads", "linear")  # what a network of other classes ends in
LEAST = 0.9  # share of the trunk that must be in the file, and of the file, but for its head, in the trunk


def load_published(network: Network, given: str, sha256: str | None) -> Report:
    """Gives a network the weights that fit it by name and shape; its head stays as it is.

    Args:
        given: a file (.safetensors, or .pth and .pt without code in them), or "timm:" and a name with its weights.
        sha256: of the file, if that is to be checked.

    Raises:
        UserError: there is no such file or name, its sha256 is another, or it is of another network.
    """
    if given.startswith(TIMM):
        weights = _bare(_fetch(given.removeprefix(TIMM)))
    else:
        weights = _bare(read_weights(Path(given), sha256, WHERE, "train_source.weights_sha256"))
    convert = getattr(network.trunk, "convert", None)
    named = _named(network, convert(weights) if convert else weights)
    report: Report = {"taken": [], "adapted": [], "fresh": []}
    state = network.state_dict()
    for name, own in state.items():
        fate, value = fitted(name, own, None if name.startswith("head.") else named.get(name))
        size = _unconverted(name, weights)
        if fate == "taken" and size is not None and size != own.shape:
            fate = "adapted"
        report[fate].append(name)
        state[name] = value
    _check_share(network, report, weights, given)
    network.load_state_dict(state)
    return report


def _fetch(name: str) -> dict[str, Tensor]:
    """The weights of one of timm's networks, from its cache or the network."""
    torchvision_ops.declare()
    import timm

    if name not in (known := timm.list_pretrained(f"{name.partition('.')[0]}*")) and not timm.is_model_pretrained(name):
        near = ", ".join(known[:5]) or "none of that name"
        raise UserError(f"{WHERE}: timm has no weights {name!r}; near it: {near}")
    try:
        return dict(timm.create_model(name, pretrained=True).state_dict())
    except Exception as error:  # noqa: BLE001 - a download passes through several libraries with errors of their own
        cache = os.environ.get("HF_HOME") or "~/.cache/huggingface"
        raise UserError(
            f"{WHERE}: {name} is not in the cache ({cache}) and can't be fetched ({type(error).__name__}); fetch it "
            "where there is network and copy the cache, or give a file of weights"
        ) from None


def _bare(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what a wrapper put before every name."""
    while prefix := next((p for p in PREFIXES if all(name.startswith(p) for name in weights)), None):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    return weights


def _plain_names(name: str) -> tuple[str, ...]:
    """What one of our weights may be called elsewhere: as here, in its trunk, in the network of timm in there."""
    return name, name.removeprefix("trunk."), name.removeprefix("trunk.model.")


def _named(network: Network, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    found = {name: next((key for key in _plain_names(name) if key in weights), None) for name in network.state_dict()}
    return {name: weights[key] for name, key in found.items() if key is not None}


def _unconverted(name: str, weights: Mapping[str, Tensor]) -> torch.Size | None:
    return next((weights[key].shape for key in _plain_names(name) if key in weights), None)


def _check_share(network: Network, report: Report, weights: dict[str, Tensor], given: str) -> None:
    """Refuses weights of another network, which fit by chance or in part."""
    sizes = {name: value.numel() for name, value in network.state_dict().items() if name.startswith("trunk.")}
    got = [name for name in report["taken"] + report["adapted"] if name in sizes]
    known = {key for name in got for key in _plain_names(name)}
    theirs = {key: value for key, value in weights.items() if key in known or key.partition(".")[0] not in HEADS}
    found, used = (
        sum(sizes[name] for name in got) / max(1, total)
        for total in (sum(sizes.values()), sum(value.numel() for value in theirs.values()))
    )
    if min(found, used) >= LEAST:
        return
    own = next((name for name in sizes if name not in got), got[0] if got else "")
    other = next((key for key in theirs if key not in known), next(iter(weights)))
    raise UserError(
        f"{WHERE}: {given} is of another network: {found:.0%} of this one's weights are in it, and {used:.0%} of its "
        f"weights are in this one; expected such as {_plain_names(own)[-1]} {list(network.state_dict()[own].shape)}, "
        f"and it has such as {other} {list(weights[other].shape)}"
    )
