"""Class-conditional variational auto-encoder (Kingma & Welling 2014; Sohn et al. 2015 for the condition).

It maximises the evidence lower bound (Kingma & Welling, eq. 3), beta on the divergence (Higgins et al. 2017, eq. 4)
    log p(x | y) >= E_q(z | x, y)[log p(x | z, y)] - beta * KL(q(z | x, y) || N(0, I)).
p(x | z, y) is Gaussian around the decoder's image with one learned standard deviation (Rybkin et al. 2021), which
balances the two terms by itself. (The article that the project was founded on prints the GAN's objective for the VAE.)
"""

import math
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.generators import Batch, Generator, in_micro_batches, noise
from pipeline.params import section

MIN_LOG_SIGMA = math.log(0.1)
NUM_DOMAINS = 2


@section
class Params:
    """Options of the VAE.

    Attributes:
        latent_dim: size of z.
        width: channels of the first convolution.
        beta: weight of the divergence; 1 is the evidence lower bound.
        kl_warmup: share of the training over which the divergence's weight grows from 0 to beta.
        temperature: standard deviation of z when sampling; below 1 is more typical and less varied.
    """

    latent_dim: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=4, le=512)]
    beta: Annotated[float, Field(gt=0)]
    kl_warmup: Annotated[float, Field(ge=0, le=1)]
    temperature: Annotated[float, Field(gt=0, le=2)]


def build(params: Params, image_shape: tuple[int, int, int], num_classes: int) -> "VAE":
    """A VAE for square images.

    Raises:
        UserError: the sides are no multiple of 4.
    """
    if image_shape[1] % 4 or image_shape[2] % 4:
        raise UserError(f"the vae makes images whose sides are multiples of 4, got {image_shape[2]} x {image_shape[1]}")
    return VAE(params, image_shape, num_classes)


class VAE(Generator):
    """Encoder q(z | x, y, domain) and decoder p(x | z, y, domain), both convolutional."""

    def __init__(self, params: Params, image_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.params = params
        channels, height, width = image_shape
        small, wide, embedding = (2 * params.width, height // 4, width // 4), 128, 16
        flat = math.prod(small)
        self.classes, self.domains = nn.Embedding(num_classes, embedding), nn.Embedding(NUM_DOMAINS, embedding)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, params.width, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(params.width, 2 * params.width, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(2 * params.width, 2 * params.width, 3, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
        )
        self.posterior = nn.Sequential(
            nn.Linear(flat + 2 * embedding, wide), nn.SiLU(), nn.Linear(wide, 2 * params.latent_dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(params.latent_dim + 2 * embedding, wide),
            nn.SiLU(),
            nn.Linear(wide, flat),
            nn.SiLU(),
            nn.Unflatten(1, small),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * params.width, 2 * params.width, 3, 1, 1),
            nn.SiLU(),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(2 * params.width, params.width, 3, 1, 1),
            nn.SiLU(),
            nn.Conv2d(params.width, channels, 3, 1, 1),
            nn.Tanh(),
        )
        self.log_sigma = nn.Parameter(torch.tensor(-0.5))

    def players(self) -> dict[str, list[nn.Parameter]]:
        """One player: encoder and decoder together."""
        return {"vae": list(self.parameters())}

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """The negative bound, mean over the batch, in nats an image (up to a constant)."""
        mu, logvar = self.encode(batch.images, batch.labels, batch.domains)
        z = mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        decoded = self.decode(z, batch.labels, batch.domains)
        warmed = min(1.0, progress / self.params.kl_warmup) if self.params.kl_warmup else 1.0
        likelihood = gaussian_log_likelihood(batch.images, decoded, self.log_sigma.clamp(min=MIN_LOG_SIGMA))
        return (self.params.beta * warmed * kl_divergence(mu, logvar) - likelihood).mean()

    def encode(self, images: Tensor, labels: Tensor, domains: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of q(z | x, y, domain), each [N, latent_dim]."""
        condition = torch.cat([self.classes(labels), self.domains(domains)], dim=1)
        mu, logvar = self.posterior(torch.cat([self.encoder(images), condition], dim=1)).chunk(2, dim=1)
        return mu, logvar.clamp(-8, 4)

    def decode(self, z: Tensor, labels: Tensor, domains: Tensor) -> Tensor:
        """Mean of p(x | z, y, domain), float [N, C, H, W] in [-1, 1]."""
        condition = torch.cat([self.classes(labels), self.domains(domains)], dim=1)
        out: Tensor = self.decoder(torch.cat([z, condition], dim=1))
        return out

    def sample(self, labels: npt.NDArray[np.int64], seeds: npt.NDArray[np.int64]) -> Tensor:
        """Decodes z ~ N(0, temperature^2 I), drawn from the image's own seed."""
        device = self.log_sigma.device
        z = self.params.temperature * noise(seeds, self.params.latent_dim)
        classes = torch.from_numpy(labels)
        return in_micro_batches(self.decode, z.to(device), classes.to(device), torch.zeros_like(classes).to(device))


def kl_divergence(mu: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mu, exp(logvar)) || N(0, I)) of each row, [N] (Kingma & Welling 2014, appendix B)."""
    return 0.5 * (mu.square() + logvar.exp() - 1 - logvar).sum(dim=1)


def gaussian_log_likelihood(images: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """log N(images; mean, sigma^2 I) of each image without the constant -D/2 log(2 pi), [N]."""
    squared = (images - mean).square().flatten(1)
    return -(0.5 * squared.sum(dim=1) / (2 * log_sigma).exp() + squared.shape[1] * log_sigma)
