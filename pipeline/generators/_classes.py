"""What an image is to show, as a vector: its class and, where a generator is told one, the value of an attribute."""

import torch
from torch import Tensor, nn


class Classes(nn.Embedding):
    """Embedding of the class, moved by the value of the attribute.

    A value moves all classes alike, so it is learned from the images of all, and a class can be asked for with a value
    that none of its images has. Value 0, none given, moves nothing. The others begin as large as the classes: where
    they begin near it, the classes learn to tell the values first, and what no image shows is not made.

    Args:
        num_attributes: values of the attribute; with 0 this is an embedding of classes and no more.
        std: of the numbers that values begin with.
    """

    def __init__(self, num_classes: int, num_attributes: int, size: int, std: float = 1.0) -> None:
        super().__init__(num_classes, size)
        self.attributes = nn.Embedding(num_attributes + 1, size, padding_idx=0) if num_attributes else None
        if self.attributes is not None:
            with torch.no_grad():
                self.attributes.weight.mul_(std)

    def forward(self, labels: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Vectors [N, size].

        Args:
            attributes: int64 [N], 0 for none given; None gives none to any.
        """
        told = super().forward(labels)
        return told if self.attributes is None or attributes is None else told + self.attributes(attributes)
