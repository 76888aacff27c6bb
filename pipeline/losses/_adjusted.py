"""Cross-entropy of logits that are shifted by what the class sizes alone would say."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.losses import ABSENT, Loss, smoothed


class Adjusted(Loss):
    """-log softmax(logits + tau log n)[label]: the head learns what the sizes do not say (Menon et al. 2021, eq. 10).

    A class without an image takes no part, in the labels' smoothing neither: its shifted logit would be dragged up.
    """

    def __init__(self, tau: float = 1.0, smoothing: float = 0.0) -> None:
        super().__init__(smoothing)
        self._tau = tau

    def forward(self, logits: Tensor, targets: Tensor, class_counts: Tensor, progress: float) -> Tensor:
        """See `Loss`."""
        return -smoothed(self.log_probs(logits, class_counts), targets, self.smoothing, class_counts)

    def log_probs(self, logits: Tensor, class_counts: Tensor) -> Tensor:
        """Log of the probabilities that the shifted logits stand for, [N, C]."""
        shift = torch.where(class_counts > 0, class_counts, ABSENT).log()
        if self._tau != 1.0:
            shift = torch.where(class_counts > 0, self._tau * shift, shift)
        return F.log_softmax(logits + shift, dim=1)
