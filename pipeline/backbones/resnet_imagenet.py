"""The ResNet of ImageNet: four stages behind a strided 7x7 convolution and a pool (He et al. 2016, table 1), by timm.

Its weights have torchvision's names.
"""

from typing import Literal

from pipeline.backbones import Trunk, _timm
from pipeline.params import section


@section
class Params:
    """Options.

    Attributes:
        depth: number of layers.
        image_size: pixels a side that images are brought to, or "model".
    """

    depth: Literal[18, 34, 50, 101]
    image_size: _timm.Size


def build(params: Params, in_channels: int) -> Trunk:
    """The network without its head."""
    where = "params.yaml: train_source.backbones.resnet_imagenet"
    return _timm.build(f"resnet{params.depth}", params.image_size, where)
