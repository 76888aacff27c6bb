"""Distribution calibration: a poor class borrows its spread from the rich classes nearest to it.

Yang, Liu & Xu 2021, "Free Lunch for Few-shot Learning: Distribution Calibration", eq. 3 to 7. Three things differ,
as here the network has been trained on the poor classes too: there is one distribution a class, about the mean of its
images, instead of one an image; how far that mean moves towards the rich ones is an option; and alpha widens every
direction, instead of the one in which all features grow.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline.feature_completion import Ints, Known
from pipeline.params import section
from pipeline.seeds import derive


@section
class Params:
    """Options of the calibration.

    Attributes:
        nearest: k, rich classes borrowed from; all where there are fewer.
        mean_share: share of the rich classes' mean in the calibrated mean; k / (k + 1) in the paper.
        alpha: variance that is added in every direction, in mean variances of a feature of those classes.
        power: lambda of Tukey's ladder, under which features look more normal (eq. 3); 1 leaves them as they are.
    """

    nearest: Annotated[int, Field(ge=1)]
    mean_share: Annotated[float, Field(ge=0, le=1)]
    alpha: Annotated[float, Field(ge=0)]
    power: Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True)
class Calibrated:
    """The normal distribution of a class: its covariance is deviations.T @ deviations + spread ** 2 * I.

    Attributes:
        mean: [D].
        deviations: [M, D]; no D x D matrix is made or decomposed, whatever D is.
    """

    mean: Tensor
    deviations: Tensor
    spread: float

    def sample(self, count: int, seed: int) -> Tensor:
        """Features [count, D]."""
        rng = torch.Generator().manual_seed(seed)
        mixed = torch.randn(count, len(self.deviations), generator=rng, dtype=torch.float64) @ self.deviations
        noise = torch.randn(count, len(self.mean), generator=rng, dtype=torch.float64)
        return self.mean + mixed + self.spread * noise


def draw(known: Known, wanted: Ints, seed: int, params: Params) -> Tensor:
    """Features from each class's calibrated distribution, carried back from Tukey's scale."""
    scaled = Known(tukey(known.features.double(), params.power), known.labels, known.rich)
    drawn = [
        calibrate(scaled, int(label), params).sample(int(wanted[label]), derive(seed, label))
        for label in np.flatnonzero(wanted)
    ]
    return tukey(torch.cat(drawn), 1 / params.power)


def calibrate(known: Known, label: int, params: Params) -> Calibrated:
    """The distribution of a class (eq. 6), on the scale of `known`."""
    own = known.of(label).mean(dim=0)
    rich = [known.of(int(other)) for other in known.rich]
    means = torch.stack([features.mean(dim=0) for features in rich])
    near = (means - own).norm(dim=1).argsort(stable=True)[: params.nearest].tolist()
    deviations = torch.cat(
        [(rich[place] - means[place]) / ((len(rich[place]) - 1) * len(near)) ** 0.5 for place in near]
    )
    variance = float(deviations.square().sum(dim=0).mean())
    mean = torch.lerp(own, means[near].mean(dim=0), params.mean_share)
    return Calibrated(mean, deviations, (params.alpha * variance) ** 0.5)


def tukey(features: Tensor, power: float) -> Tensor:
    """Tukey's ladder of powers (eq. 3); of negative features that of their size, so that it can be undone."""
    return features.sign() * features.abs() ** power
