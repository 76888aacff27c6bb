"""Heads: what makes logits of a trunk's features. One file a head; the folder is the registry.

A head module has
    Params: its options, a section of params.yaml;
    build(params, num_features, num_classes) -> list[nn.Module]: the layers from the trunk's features to logits.
The last layer, an `nn.Linear` or a kind of it, is what is called the network's head. The layers before it count as
features: they are transferred, and what works on features works on what comes out of them.
"""

from typing import Any

from torch import nn

from pipeline import registry

KIND = "head"


def create(name: str, options: dict[str, Any], num_features: int, num_classes: int) -> list[nn.Module]:
    """The layers of a head, with weights from torch's generator as it stands.

    Raises:
        UserError: unknown name or wrong options.
    """
    module, params = registry.chosen(__name__, name, options, "params.yaml: train_source.heads")
    layers: list[nn.Module] = module.build(params, num_features, num_classes)
    return layers
