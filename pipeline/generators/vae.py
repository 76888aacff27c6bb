"""Class-conditional variational auto-encoder (Kingma & Welling 2014; Sohn et al. 2015 for the condition).

It maximises the evidence lower bound (Kingma & Welling, eq. 3), beta on the divergence (Higgins et al. 2017, eq. 4)
    log p(x | y) >= E_q(z | x, y)[log p(x | z, y)] - beta * KL(q(z | x, y) || N(0, I)).
p(x | z, y) is Gaussian around the decoder's image with one learned standard deviation (Rybkin et al. 2021), which
balances the two terms by itself. (The article that the project was founded on prints the GAN's objective for the VAE.)
"""

import math
from itertools import pairwise
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.generators import NUM_DOMAINS, Batch, Generator, blend, check_sides, halved, in_micro_batches, noise, told
from pipeline.generators._classes import Classes
from pipeline.params import section

MIN_LOG_SIGMA = math.log(0.1)
EMBEDDING = 16


@section
class Params:
    """Options of the VAE.

    Attributes:
        latent_dim: size of z.
        width: channels of the first convolution.
        beta: weight of the divergence; 1 is the evidence lower bound.
        kl_warmup: share of the training over which the divergence's weight grows from 0 to beta.
        free_bits: divergence that a dimension of z may have at no cost, in nats (Kingma et al. 2016, section C.8); 0
            is off. It keeps z in use where the decoder could do without.
        bank: posteriors of source-domain images kept for each class, from which samples start where there are any.
    """

    latent_dim: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=4, le=512)]
    beta: Annotated[float, Field(gt=0)]
    kl_warmup: Annotated[float, Field(ge=0, le=1)]
    free_bits: Annotated[float, Field(ge=0)]
    bank: Annotated[int, Field(ge=0, le=100_000)]


@section
class Sampling:
    """How images are drawn.

    Attributes:
        temperature: standard deviation of z; below 1 is more typical and less varied.
        source_style: a sample's domain lies between the target and, at most, this share of the source.
    """

    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    source_style: Annotated[float, Field(ge=0, le=1)] = 0.0


def build(params: Params, image_shape: tuple[int, int, int], num_classes: int, num_attributes: int) -> "VAE":
    """A VAE for images of any size from 8 x 8 pixels on.

    Raises:
        UserError: they are smaller.
    """
    check_sides("vae", image_shape)
    return VAE(params, image_shape, num_classes, num_attributes)


class VAE(Generator):
    """Encoder q(z | x, y, domain) and decoder p(x | z, y, domain), both convolutional; y is class and attribute."""

    judged_by = "vae"
    bank_mu: Tensor
    bank_logvar: Tensor
    bank_filled: Tensor

    def __init__(
        self, params: Params, image_shape: tuple[int, int, int], num_classes: int, num_attributes: int = 0
    ) -> None:
        super().__init__()
        self.params = params
        self.classes = Classes(num_classes, num_attributes, EMBEDDING)
        self.domains = nn.Embedding(NUM_DOMAINS, EMBEDDING)
        sizes = halved(image_shape)
        sizes.append(((sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2))  # at most 4 x 4, whatever the image's size
        most = params.width * min(2 * (len(sizes) - 2), 8)
        widths = [min(params.width * 2**level, most) for level in range(len(sizes))]
        small, wide = (widths[-1], *sizes[-1]), max(128, 2 * params.latent_dim)
        flat = math.prod(small)
        self.encoder = nn.Sequential(*_shrinking(image_shape[0], widths), nn.Flatten())
        self.posterior = nn.Sequential(
            nn.Linear(flat + 2 * EMBEDDING, wide), nn.SiLU(), nn.Linear(wide, 2 * params.latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(params.latent_dim + 2 * EMBEDDING, wide),
            nn.SiLU(),
            nn.Linear(wide, flat),
            nn.SiLU(),
            nn.Unflatten(1, small),
            *_growing(image_shape[0], widths, sizes),
            nn.Tanh(),
        )
        self.log_sigma = nn.Parameter(torch.tensor(-0.5))
        self.register_buffer("bank_mu", torch.zeros(num_classes, params.bank, params.latent_dim))
        self.register_buffer("bank_logvar", torch.zeros(num_classes, params.bank, params.latent_dim))
        self.register_buffer("bank_filled", torch.zeros(num_classes, dtype=torch.bool))

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: encoder and decoder together."""
        return {"vae": list(self.parameters())}

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """The negative bound, mean over the batch, in nats an image (up to a constant)."""
        mu, logvar = self.encode(batch.images, batch.labels, batch.domains, batch.attributes)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        decoded = self.decode(z, batch.labels, batch.domains.to(z.dtype), batch.attributes)
        likelihood = gaussian_log_likelihood(batch.images, decoded, self.log_sigma.clamp(min=MIN_LOG_SIGMA))
        return self.bound(kl_divergence(mu, logvar), likelihood, progress)

    def bound(self, divergence: Tensor, likelihood: Tensor, progress: float) -> Tensor:
        """The negative bound of divergences [N, latent_dim] and log-likelihoods [N], the former warmed up."""
        warmed = min(1.0, progress / self.params.kl_warmup) if self.params.kl_warmup else 1.0
        paid = divergence.mean(dim=0).clamp(min=self.params.free_bits).sum()
        return self.params.beta * warmed * paid - likelihood.mean()

    def encode(
        self, images: Tensor, labels: Tensor, domains: Tensor, attributes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x, y, domain), each [N, latent_dim]."""
        condition = torch.cat([self.classes(labels, attributes), self.domains(domains)], dim=1)
        mu, logvar = self.posterior(torch.cat([self.encoder((images + 1) / 2), condition], dim=1)).chunk(2, dim=1)
        return mu, logvar.clamp(-8, 4)

    def decode(self, z: Tensor, labels: Tensor, style: Tensor, attributes: Tensor | None = None) -> Tensor:
        """Mean of p(x | z, y, domain), float [N, C, H, W] in [-1, 1].

        Args:
            style: domain of each image, float [N]: 0 the target, 1 the source, between them a mixture.
        """
        condition = [self.classes(labels, attributes), blend(self.domains, style)]
        out: Tensor = self.decoder(torch.cat([z, *condition], dim=1))
        return out

    @torch.no_grad()
    def remember(self, images: Tensor, label: int) -> None:
        """Keeps the posteriors of the first `bank` images."""
        if not self.params.bank or not len(images):
            return
        chosen = images[: self.params.bank]
        labels = torch.full((len(chosen),), label, device=images.device)
        mu, logvar = self.encode(chosen, labels, torch.ones_like(labels))
        places = torch.arange(self.params.bank, device=images.device) % len(chosen)
        self.bank_mu[label], self.bank_logvar[label] = mu[places], logvar[places]
        self.bank_filled[label] = True

    def sample(
        self,
        labels: npt.NDArray[np.int64],
        seeds: npt.NDArray[np.int64],
        sampling: Sampling | None = None,
        attributes: npt.NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Decodes a z drawn from the image's own seed.

        z comes from the posterior of a source image of the class, which brings what the class looks like elsewhere, or
        from N(0, I) where there is no such image; the domain lies between the target and `source_style` of the source.
        """
        sampling = sampling or Sampling()
        device, size = self.log_sigma.device, self.params.latent_dim
        drawn = noise(seeds, size + 2).to(device)
        uniform = torch.special.ndtr(drawn[:, size:])
        classes, values = told(labels, attributes, device)
        z = sampling.temperature * drawn[:, :size]
        style = torch.zeros(len(labels), device=device)
        known = self.bank_filled[classes]
        if known.any():
            place = (uniform[known, 0] * self.params.bank).long().clamp(max=self.params.bank - 1)
            mu, logvar = self.bank_mu[classes[known], place], self.bank_logvar[classes[known], place]
            z[known] = mu + (0.5 * logvar).exp() * z[known]
            style[known] = sampling.source_style * uniform[known, 1]
        return in_micro_batches(self.decode, z, classes, style, values)


def _shrinking(channels: int, widths: list[int]) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(channels, widths[0], 3, 1, 1), nn.SiLU()]
    for wide, wider in pairwise(widths):
        layers += [nn.Conv2d(wide, wider, 3, 2, 1), nn.SiLU()]
    return layers


def _growing(channels: int, widths: list[int], sizes: list[tuple[int, int]]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for (wider, wide), size in zip(pairwise(reversed(widths)), reversed(sizes[:-1]), strict=True):
        layers += [nn.Upsample(size), nn.Conv2d(wider, wide, 3, 1, 1), nn.SiLU()]
    return [*layers, nn.Conv2d(widths[0], channels, 3, 1, 1)]


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, 1)) of each number (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar)


def gaussian_log_likelihood(images: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """log N(images; mean, sigma^2 I) of each image without the constant -D/2 log(2 pi), [N]."""
    squared = (images - mean).square().flatten(1)
    return -(0.5 * squared.sum(dim=1) / (2 * log_sigma).exp() + squared.shape[1] * log_sigma)
