"""What a source network can learn from images without labels. One file a task; the folder is the registry.

A source task has
    VIEWS: versions of each image that it wants, each changed at random anew;
    Params: its options, a section of params.yaml;
    build(params, num_features) -> nn.Module, called with (features, views): what makes features of images
        ([N, C, H, W] to [N, D]), and the views; it returns the loss, []. Its own parameters learn along.
"""

from typing import Any

from torch import nn

from pipeline import registry
from pipeline.seeds import seeded

KIND = "source task"


def create(name: str, options: dict[str, Any], num_features: int, seed: int) -> tuple[nn.Module, int]:
    """The loss of a task and how many views it wants; equal seeds give equal weights.

    Raises:
        UserError: unknown name or wrong options.
    """
    module, params = registry.chosen(__name__, name, options, "params.yaml: train_source.source_tasks")
    with seeded(seed):
        criterion: nn.Module = module.build(params, num_features)
    return criterion, module.VIEWS
