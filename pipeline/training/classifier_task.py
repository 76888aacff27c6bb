"""A classifier's network with its loss, as the training loop takes it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.backbones import Network
from pipeline.dataset import PixelStore
from pipeline.losses import ABSENT, Loss
from pipeline.seeds import derive
from pipeline.training.batches import Batch
from pipeline.training.fine_tuning import Tuner
from pipeline.training.recipe import Added, Recipe
from pipeline.transforms.mixing import mix


@dataclass(frozen=True)
class TrainingData:
    """Rows of a real data set, and images added to them."""

    real: PixelStore
    rows: npt.NDArray[np.int64]
    added: PixelStore | None = None
    how: Added | None = None


class ClassifierTask(nn.Module):
    """A network with its loss, for the training loop.

    Loss = mean over real + weight * weighted mean over added: the mean over a mixture of both. A loss is told the class
    counts of that mixture at the time, for every image: told those of each part, a loss that corrects for them would
    let the rare classes win twice.
    """

    real_counts: Tensor
    added_shares: Tensor

    def __init__(self, network: Network, criterion: Loss, data: TrainingData, recipe: Recipe, seed: int) -> None:
        super().__init__()
        self.network, self.criterion = network, criterion
        self._recipe, self._how, self._seed = recipe, data.how, seed
        num_classes = network.head.out_features
        counts = _counts(data.real.labels[data.rows], num_classes)
        self.register_buffer("real_counts", _as_drawn(counts, recipe.class_balance))
        added = _counts(data.added.labels, num_classes, data.added.weights) if data.added is not None else 0 * counts
        self.register_buffer("added_shares", added / added.sum().clamp(min=ABSENT))

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: the network, with whatever the loss learns."""
        return {"classifier": [*self.network.parameters(), *self.criterion.parameters()]}

    def loss(self, _player: str, batch: Batch, progress: float) -> Tensor:
        """The loss of one update; where images are mixed, that of both labels in their shares."""
        if not self._recipe.mixing.on:
            return self._loss_of(batch, batch.images, progress)
        step = round(progress * self._recipe.schedule.steps)
        rng = np.random.default_rng(derive(self._seed, "mixing", step))
        partners = _partners(batch.added)
        images, share = mix(batch.images, partners, self._recipe.mixing, rng)
        return self._loss_of(batch, images, progress, partners, share)

    def _loss_of(
        self, batch: Batch, images: Tensor, progress: float, partners: Tensor | None = None, share: float = 1.0
    ) -> Tensor:
        head, counts, labels = self.network.head, self.class_counts(progress), batch.labels
        features, further = self._features(images, batch.views)
        logits = self.criterion.logits(features, head)

        def total(values: Tensor, weights: Tensor) -> Tensor:
            return self._mean(values, weights, batch.added, progress)

        loss = total(self.criterion(logits, labels, counts, progress), batch.weights)
        if partners is not None:
            mixed_in = total(self.criterion(logits, labels[partners], counts, progress), batch.weights[partners])
            loss = share * loss + (1 - share) * mixed_in
        if further is not None:  # views are not mixed
            loss = loss + total(self.criterion.of_views(further, head, labels, counts), batch.weights)
        return loss

    def _features(self, images: Tensor, views: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features of the images, [N, D], and of their further views, [N, views, D]."""
        if views is None:
            return self.network.features(images), None
        features = self.network.features(torch.cat([images, views.flatten(0, 1)]))
        return features[: len(images)], features[len(images) :].reshape(*views.shape[:2], -1)

    def class_counts(self, progress: float) -> Tensor:
        """Images of each class in the mixture that is drawn from, [C], as many as there are real ones and more."""
        if self._how is None:
            return self.real_counts
        return self.real_counts + self._how.weight_at(progress) * self.real_counts.sum() * self.added_shares

    def _mean(self, values: Tensor, weights: Tensor, added: Tensor, progress: float) -> Tensor:
        total = values[~added].mean()
        if self._how is None or not added.any():
            return total
        share = (values[added] * weights[added]).sum() / weights[added].sum()
        return total + self._how.weight_at(progress) * share


class HeadTask(ClassifierTask):
    """A network of which the head alone is trained; all before it works as it does when it is asked."""

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: the head."""
        return {"head": list(self.network.head.parameters())}

    def train(self, mode: bool = True) -> "HeadTask":
        """Leaves the trunk's dropout off and its statistics alone."""
        super().train(mode)
        self.network.eval()
        self.network.head.train(mode)
        return self

    def _features(self, images: Tensor, views: Tensor | None) -> tuple[Tensor, Tensor | None]:
        with torch.no_grad():
            return super()._features(images, views)


class TunedTask(ClassifierTask):
    """A network that starts from a source's weights and is fine-tuned as its tuner says."""

    def __init__(
        self, network: Network, criterion: Loss, data: TrainingData, recipe: Recipe, seed: int, tuner: Tuner
    ) -> None:
        super().__init__(network, criterion, data, recipe, seed)
        self.tuner = tuner

    def groups(self, _player: str) -> list[dict[str, Any]]:
        """Parameters in groups of one learning rate and decay."""
        own = list(self.criterion.parameters())
        return self.tuner.groups(self.network) + ([{"params": own}] if own else [])

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """The loss of one update, with what holds the network to the source's."""
        self.tuner.prepare(self.network, progress)
        return super().loss(player, batch, progress) + self.tuner.penalty(self.network)


def _partners(added: Tensor) -> Tensor:
    """Of each image the one before it, real ones among themselves: batches are in random order already."""
    partners = torch.arange(len(added), device=added.device)
    for rows in (partners[~added], partners[added]):
        partners[rows] = rows.roll(1)
    return partners


def _counts(labels: npt.NDArray[np.int64], num_classes: int, weights: npt.NDArray[np.float32] | None = None) -> Tensor:
    return torch.from_numpy(np.bincount(labels, weights, minlength=num_classes)).float()


def _as_drawn(counts: Tensor, class_balance: float) -> Tensor:
    """The class counts [C] that natural draws would need to bring the classes in these shares."""
    if not class_balance:
        return counts
    shares = torch.where(counts > 0, counts ** (1 - class_balance), 0.0)
    return shares * (counts.sum() / shares.sum())
