"""The two networks of a conditional DCGAN (Radford et al. 2016).

The discriminator judges by projection (Miyato & Koyama 2018) and has no batch normalisation, which gradient penalties
and spectral normalisation do without. Both are told the class, the attribute if there is one, and the domain.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from pipeline.generators import NUM_DOMAINS, blend
from pipeline.generators._classes import Classes
from pipeline.generators._convolution import SmoothConv2d

EMBEDDING = 32
FEATURES = 256
SLOPE = 0.2


class Painter(nn.Module):
    """The generator: noise, class and domain to an image, by transposed convolutions with batch normalisation.

    Args:
        sizes: heights and widths, halved from level to level.
        width: channels of the full resolution; twice as many a level below, at most eight times.
    """

    def __init__(
        self,
        noise_dim: int,
        channels: int,
        sizes: list[tuple[int, int]],
        width: int,
        num_classes: int,
        num_attributes: int,
    ) -> None:
        super().__init__()
        self.classes = Classes(num_classes, num_attributes, EMBEDDING)
        self.domains = nn.Embedding(NUM_DOMAINS, EMBEDDING)
        wide = widths(width, len(sizes))
        bottom = (wide[-1], *sizes[-1])
        self.first = nn.Sequential(
            nn.Linear(noise_dim + 2 * EMBEDDING, math.prod(bottom), bias=False),
            nn.Unflatten(1, bottom),
            *_settle(wide[-1]),
        )
        layers: list[nn.Module] = []
        for level in range(len(sizes) - 1, 0, -1):
            layers += [
                nn.ConvTranspose2d(wide[level], wide[level - 1], _kernel(sizes[level - 1]), 2, 1, bias=False),
                *_settle(wide[level - 1]),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, channels, 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor, labels: Tensor, style: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] in [-1, 1].

        Args:
            style: domain of each image, float [N]: 0 the target, 1 the source, between them a mixture.
        """
        condition = [self.classes(labels, attributes), blend(self.domains, style)]
        out: Tensor = self.layers(self.first(torch.cat([z, *condition], dim=1)))
        return out


class Critic(nn.Module):
    """The discriminator: image, class and domain to a logit; higher is more real.

    Args:
        spectral: normalises the spectrum of all layers.
        penalised: its gradient by the image will be differentiated.
    """

    def __init__(
        self,
        channels: int,
        sizes: list[tuple[int, int]],
        width: int,
        num_classes: int,
        num_attributes: int,
        *,
        spectral: bool,
        penalised: bool,
    ) -> None:
        super().__init__()
        wide, conv = widths(width, len(sizes)), SmoothConv2d if penalised else nn.Conv2d
        layers: list[nn.Module] = [conv(channels, width, 3, 1, 1), nn.LeakyReLU(SLOPE)]
        for level in range(1, len(sizes)):
            layers += [conv(wide[level - 1], wide[level], _kernel(sizes[level - 1]), 2, 1), nn.LeakyReLU(SLOPE)]
        flat = wide[-1] * math.prod(sizes[-1])
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(flat, FEATURES), nn.LeakyReLU(SLOPE))
        self.score = nn.Linear(FEATURES, 1, bias=False)
        std = 1 / math.sqrt(FEATURES)
        self.classes = Classes(num_classes, num_attributes, FEATURES, std)
        self.domains = nn.Embedding(NUM_DOMAINS, FEATURES)
        for table in (self.classes, self.domains):
            nn.init.normal_(table.weight, std=std)
        if spectral:
            for module in list(self.modules()):
                if isinstance(module, nn.Conv2d | nn.Linear | nn.Embedding):
                    spectral_norm(module)

    def forward(self, images: Tensor, labels: Tensor, domains: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Logits [N]: the image's score, and its features projected on what class, attribute and domain look for."""
        features = self.features(images)
        projection = (features * (self.classes(labels, attributes) + self.domains(domains))).sum(dim=1)
        out: Tensor = (self.score(features)[:, 0] + projection).float()
        return out


def widths(width: int, levels: int) -> list[int]:
    """Channels of each level, from the full resolution down."""
    return [width * min(2**level, 8) for level in range(levels)]


def _settle(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.LeakyReLU(SLOPE)]


def _kernel(size: tuple[int, int]) -> tuple[int, int]:
    """The kernel with which a stride of 2 and a border of 1 leads between a size and its half, rounded up."""
    return 4 - size[0] % 2, 4 - size[1] % 2
