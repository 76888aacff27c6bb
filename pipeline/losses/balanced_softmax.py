"""Balanced Softmax (Ren et al. 2020, eq. 4), the same as logit adjustment in the loss (Menon et al. 2021, eq. 10)."""

import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, class_counts: Tensor) -> Tensor:
    """Cross-entropy of logits shifted by the log of the class counts, [N]; classes without an image are left out."""
    return F.cross_entropy(logits + class_counts.clamp(min=1e-12).log(), labels, reduction="none")
