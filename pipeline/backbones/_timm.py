"""Networks of timm as trunks: they get images of the size, channels and mean that their weights were trained with."""

import sys
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pipeline import torchvision_ops
from pipeline.backbones import Trunk
from pipeline.errors import UserError

Size = Annotated[int, Field(ge=8, le=1024)] | Literal["model"]
FAILURES = (AssertionError, RuntimeError, TypeError, ValueError)


class Adapter(nn.Module):
    """A network of timm behind what its images need.

    Grey images are repeated, so that weights for colours are taken as they are, whatever the target's channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, side: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.model, self._side = model, side
        for name, values in {"mean": mean, "std": std}.items():
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """[N, C, H, W] from 0 to 1 to features [N, D]."""
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        size = (self._side, self._side)
        if images.shape[2:] != size:
            smaller = self._side < max(images.shape[2:])
            images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=smaller)
        out: Tensor = self.model((images - self.mean) / self.std)
        return out

    def convert(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Published weights under timm's names; positions of a transformer in the number that this one has."""
        own: Any = getattr(sys.modules[type(self.model).__module__], "checkpoint_filter_fn", None)
        try:
            converted: Mapping[str, Tensor] = own(dict(weights), self.model) if own else weights
        except (*FAILURES, KeyError):  # a file of another architecture, which the caller tells
            return weights
        return dict(converted)


def build(name: str, image_size: int | str, where: str) -> Trunk:
    """The network of that name without its head, freshly initialised.

    Args:
        image_size: pixels a side that images are brought to; "model": those that its weights were trained with.
        where: the option's place in params.yaml.

    Raises:
        UserError: timm has no such network, or it can't see images of that size.
    """
    model = _create(name, image_size, where)
    config = model.pretrained_cfg
    side = int(config["input_size"][-1]) if image_size == "model" else int(image_size)
    width = _width(name, side, where)
    stages = [[f"model.{parameter}" for parameter in stage] for stage in _stages(model)]
    return Trunk(Adapter(model, side, config["mean"], config["std"]), width, stages)


def _create(name: str, image_size: int | str, where: str) -> Any:
    torchvision_ops.declare()
    import timm

    base, _, tag = name.partition(".")
    if not timm.is_model(base) or (tag and name not in timm.list_pretrained(f"{base}.*")):
        known = timm.list_pretrained(f"{base}.*") if timm.is_model(base) else timm.list_models()
        near = get_close_matches(name, known, n=5, cutoff=0.5) or known[:5]
        raise UserError(f"{where}: timm has no network {name!r}; near it: {', '.join(near)}")
    fixed = timm.models.get_pretrained_cfg(name)
    sized: dict[str, Any] = (
        {"img_size": image_size} if image_size != "model" and fixed and fixed.fixed_input_size else {}
    )
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **sized)
    except FAILURES as error:
        raise UserError(f"{where}: {name} can't be made for images of {image_size} pixels a side ({error})") from None


@lru_cache(maxsize=16)
def _width(name: str, side: int, where: str) -> int:
    """Number of features; found by asking, which also tells whether the network can see images of that size."""
    model = _create(name, side, where).eval()
    try:
        with torch.no_grad():
            features = model(torch.zeros(1, 3, side, side))
    except FAILURES as error:
        said = " ".join(str(error).split())
        raise UserError(f"{where}: {name} can't see images of {side} pixels a side ({said})") from None
    if features.ndim != 2:
        raise UserError(f"{where}: {name} makes no vector of an image but {list(features.shape[1:])}")
    return int(features.shape[1])


def _stages(model: nn.Module) -> list[list[str]]:
    """Names of the parameters by their depth, as timm knows it."""
    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        return [[name for name, _ in model.named_parameters()]]
    from timm.models import group_parameters

    groups = group_parameters(model, matcher(coarse=True))
    return [list(groups[depth]) for depth in sorted(groups)]
