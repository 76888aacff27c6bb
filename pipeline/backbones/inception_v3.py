"""Inception v3 (Szegedy et al. 2016), by timm, under torchvision's names.

With `train_source.head: mlp` the usual example of fine-tuning: pooled features, 1024, 512, classes.
"""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.backbones import Trunk, _timm
from pipeline.params import section


@section
class Params:
    """Options.

    Attributes:
        image_size: pixels a side that images are brought to, 75 or more, or "model".
    """

    image_size: Annotated[int, Field(ge=75, le=1024)] | Literal["model"]


def build(params: Params, in_channels: int) -> Trunk:
    """The network without its head."""
    return _timm.build("inception_v3", params.image_size, "params.yaml: train_source.backbones.inception_v3")
