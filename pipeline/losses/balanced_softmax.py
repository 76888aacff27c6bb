"""Balanced Softmax (Ren et al. 2020, eq. 4), the same as logit adjustment in the loss (Menon et al. 2021, eq. 10)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(logits: Tensor, labels: Tensor, class_counts: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy of logits shifted by the log of the class counts, [N].

    A class without an image takes no part, in the labels' smoothing neither: its shifted logit would be dragged up.
    """
    present = class_counts > 0
    log_probs = F.log_softmax(logits + torch.where(present, class_counts, 1e-12).log(), dim=1)
    own = log_probs.gather(1, labels[:, None])[:, 0]
    spread = (log_probs * present).sum(dim=1) / present.sum()
    return -(1 - smoothing) * own - smoothing * spread
