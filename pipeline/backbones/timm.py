"""Any network of timm by its name, such as convnext_atto.d2_in1k (Wightman 2019)."""

from typing import Annotated

from pydantic import Field

from pipeline.backbones import Trunk, _timm
from pipeline.params import section


@section
class Params:
    """Options.

    Attributes:
        model: timm's name, with or without the tag of its weights, which also tells size, mean and deviation.
        image_size: pixels a side that images are brought to, or "model".
    """

    model: Annotated[str, Field(min_length=1)]
    image_size: _timm.Size


def build(params: Params, in_channels: int) -> Trunk:
    """The network without its head."""
    return _timm.build(params.model, params.image_size, "params.yaml: train_source.backbones.timm")
