"""Class-conditional generative adversarial network (Goodfellow et al. 2014; networks: Radford et al. 2016).

A discriminator D (here with logits, of which the sigmoid is the article's D) and a generator G play (eq. 1)
    min_G max_D E_x[log D(x)] + E_z[log(1 - D(G(z)))],
the objective that the article this project was founded on prints, or a variant that trains better: `OBJECTIVES`.
Few images make D learn them by heart; against that stand differentiable augmentation (Zhao et al. 2020), a penalty on
D's gradient (Mescheder et al. 2018), and spectral normalisation (Miyato et al. 2018).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import relu, softplus

from pipeline.generators import Batch, Generator, check_sides, halved, in_micro_batches, noise, told
from pipeline.generators._dcgan import Critic, Painter
from pipeline.generators._diff_augment import augment
from pipeline.params import section


@section
class Params:
    """Options of the GAN.

    Attributes:
        noise_dim: size of z.
        width: channels of the full resolution, of both networks.
        objective: what the two minimise; relativistic is R3GAN's.
        spectral_norm: whether the discriminator's layers are kept at Lipschitz constant 1.
        gradient_penalty: weight gamma of the penalty on the discriminator's gradient at real images (R1), and with
            the relativistic objective at made ones too (R2).
        augment: differentiable augmentations of what the discriminator sees.
        lr: highest learning rate of both players.
    """

    noise_dim: Annotated[int, Field(ge=1, le=1024)]
    width: Annotated[int, Field(ge=4, le=512)]
    objective: Literal["minimax", "non_saturating", "hinge", "relativistic"]
    spectral_norm: bool
    gradient_penalty: Annotated[float, Field(ge=0)]
    augment: list[Literal["colour", "translation", "cutout"]]
    lr: Annotated[float, Field(gt=0)]


@section
class Sampling:
    """How images are drawn.

    Attributes:
        truncation: z comes from the normal distribution within so many standard deviations (Brock et al. 2019, section
            3.1); less is more typical and less varied.
        source_style: a sample's domain lies between the target and, at most, this share of the source.
    """

    truncation: Annotated[float, Field(gt=0, le=10)] = 10.0
    source_style: Annotated[float, Field(ge=0, le=1)] = 0.0


def build(params: Params, image_shape: tuple[int, int, int], num_classes: int, num_attributes: int) -> "GAN":
    """A GAN for images of any size from 8 x 8 pixels on.

    Raises:
        UserError: they are smaller.
    """
    check_sides("gan", image_shape)
    return GAN(params, image_shape, num_classes, num_attributes)


class GAN(Generator):
    """Generator and discriminator."""

    def __init__(
        self, params: Params, image_shape: tuple[int, int, int], num_classes: int, num_attributes: int = 0
    ) -> None:
        super().__init__()
        self.params, sizes = params, halved(image_shape)
        common = image_shape[0], sizes, params.width, num_classes, num_attributes
        self.generator = Painter(params.noise_dim, *common)
        penalised = params.gradient_penalty > 0
        self.discriminator = Critic(*common, spectral=params.spectral_norm, penalised=penalised)

    def players(self) -> dict[str, list[nn.Parameter]]:
        """The discriminator moves first."""
        return {
            "discriminator": list(self.discriminator.parameters()),
            "generator": list(self.generator.parameters()),
        }

    def optimiser(self, player: str) -> dict[str, Any]:
        """Adam as Radford et al. (2016) set it for GANs."""
        return {"lr": self.params.lr, "betas": (0.5, 0.999), "weight_decay": 0.0}

    def compilable(self) -> list[nn.Module]:
        """Not the discriminator where gradient penalties differentiate its gradients."""
        return [self.generator] if self.params.gradient_penalty else [self.generator, self.discriminator]

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """What the player minimises, against images that are made for what the batch's images are told to be."""
        z = torch.randn(len(batch.images), self.params.noise_dim, device=batch.images.device)
        made_for = batch.labels, batch.domains.to(z.dtype), batch.attributes
        if player == "generator":
            with frozen(self.discriminator):
                real, made = self._judge(batch, batch.images, self.generator(z, *made_for))
            return generator_loss(self.params.objective, real, made)
        with torch.no_grad():
            images = self.generator(z, *made_for)
        if not (self.params.gradient_penalty and torch.is_grad_enabled()):
            return discriminator_loss(self.params.objective, *self._judge(batch, batch.images, images))
        both = self.params.objective == "relativistic"
        seen, images = batch.images.detach().requires_grad_(), images.requires_grad_(both)
        real, made = self._judge(batch, seen, images)
        penalty = gradient_penalty(torch.cat([real, made]), seen, images) if both else gradient_penalty(real, seen)
        return discriminator_loss(self.params.objective, real, made) + self.params.gradient_penalty / 2 * penalty

    def _judge(self, batch: Batch, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of real and of made images, each [N]."""
        images = augment(torch.cat([real, made]), self.params.augment)
        attributes = None if batch.attributes is None else batch.attributes.repeat(2)
        logits = self.discriminator(images, batch.labels.repeat(2), batch.domains.repeat(2), attributes)
        return logits[: len(real)], logits[len(real) :]

    def sample(
        self,
        labels: npt.NDArray[np.int64],
        seeds: npt.NDArray[np.int64],
        sampling: Sampling | None = None,
        attributes: npt.NDArray[np.int64] | None = None,
    ) -> Tensor:
        """Makes an image of a z that is drawn from the image's own seed."""
        sampling = sampling or Sampling()
        device, size = self.generator.classes.weight.device, self.params.noise_dim
        drawn = noise(seeds, size + 1)
        z = truncated(drawn[:, :size], sampling.truncation).to(device)
        style = sampling.source_style * torch.special.ndtr(drawn[:, size]).to(device)
        classes, values = told(labels, attributes, device)
        return in_micro_batches(self.generator, z, classes, style, values)


def discriminator_loss(objective: str, real: Tensor, made: Tensor) -> Tensor:
    """What the discriminator minimises, from logits of as many real as made images.

    minimax, non_saturating: -log D(x) - log(1 - D(G(z))) (Goodfellow et al. 2014, eq. 1). hinge: Lim & Ye 2017.
    relativistic: -log sigmoid(real - made) (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2, for R3GAN).
    """
    if objective == "hinge":
        return (relu(1 - real) + relu(1 + made)).mean()
    if objective == "relativistic":
        return softplus(made - real).mean()
    return (softplus(-real) + softplus(made)).mean()


def generator_loss(objective: str, real: Tensor, made: Tensor) -> Tensor:
    """What the generator minimises.

    minimax: log(1 - D(G(z))). non_saturating: -log D(G(z)) (Goodfellow et al. 2014, section 3). hinge: minus the logit.
    relativistic: -log sigmoid(made - real).
    """
    if objective == "minimax":
        return -softplus(made).mean()
    if objective == "non_saturating":
        return softplus(-made).mean()
    if objective == "hinge":
        return -made.mean()
    return softplus(real - made).mean()


def gradient_penalty(logits: Tensor, *images: Tensor) -> Tensor:
    """Mean over the images of the squared norm of the gradient of each one's logit (Mescheder et al. 2018, eq. 9).

    Args:
        images: tensors [N, C, H, W] of which each image moves its own logit only; their means add up. One pass through
            the network serves them all.
    """
    gradients = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return torch.stack([gradient.square().flatten(1).sum(dim=1).mean() for gradient in gradients]).sum()


def truncated(z: Tensor, limit: float) -> Tensor:
    """Standard normal numbers as ones of the normal distribution within +-limit, in the same order."""
    outside = torch.special.ndtr(torch.tensor(-limit, dtype=torch.float64))
    inside = torch.lerp(outside, 1 - outside, torch.special.ndtr(z.double()))
    cut: Tensor = torch.special.ndtri(inside).clamp(-limit, limit)
    return cut.to(z.dtype)


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Takes no gradients of the module's parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
