"""How a network that starts from a source's weights goes on: what moves, how fast, and how far from where it began."""

import re
from collections.abc import Set
from typing import Annotated, Any

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from pipeline.backbones import Network
from pipeline.params import section
from pipeline.seeds import derive, seeded
from pipeline.training import affine

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
MAPPED = re.compile(r"\.parametrizations\.(\w+)\..+$")


@section
class FineTuning:
    """Options of fine-tuning; by default all parts move at one rate, as if the weights were fresh.

    Attributes:
        layer_decay: the learning rate of a stage of the trunk in that of the stage after it; the head has the
            schedule's (Howard & Ruder 2018, section 3.2; Clark et al. 2020).
        unfreeze_every: share of the training after which one more stage of the trunk joins, the last one first
            (Howard & Ruder 2018, section 3.3); 0: all from the start.
        l2_sp: alpha of alpha / 2 |w - w_source|^2, instead of the decay of these weights (Li et al. 2018, eq. 4).
        affine_rank: learns theta_T = (I + U V^T) theta_source + b with U, V of this rank; null learns theta_T itself.
    """

    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    unfreeze_every: Annotated[float, Field(ge=0, le=1)] = 0.0
    l2_sp: Annotated[float, Field(ge=0)] = 0.0
    affine_rank: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _apart(self) -> "FineTuning":
        if self.affine_rank is not None and self.l2_sp:
            raise ValueError(
                "params.yaml: train_classifier.fine_tuning: l2_sp must be 0 where affine_rank is given, whose map "
                f"starts from the source's weights and whose decay pulls towards them, got {self.l2_sp}"
            )
        return self


class Tuner(nn.Module):
    """What fine-tuning does to one network while it trains; it changes the network in place.

    Args:
        started: names of the network's weights that are the source's.
        frozen: what is the source's stays as it is, and the whole trunk with its statistics; the head learns.
        seed: of the affine maps.
    """

    def __init__(self, network: Network, how: FineTuning, started: Set[str], *, frozen: bool, seed: int) -> None:
        super().__init__()
        self._how, self._frozen, self._num_stages = how, frozen, len(network.stages)
        self._depth = {name: number for number, stage in enumerate(network.stages) for name in stage}
        own = [name for name, _ in network.named_parameters() if name in started and not name.startswith("head.")]
        self._still = frozenset(own if frozen else ())
        self._anchored = own if how.l2_sp and not frozen else []
        for number, name in enumerate(self._anchored):
            self.register_buffer(f"anchor_{number}", network.get_parameter(name).detach().clone(), persistent=False)
        if how.affine_rank is not None and not frozen:
            with seeded(derive(seed, "affine")):
                affine.attach(network, frozenset(own) & self._depth.keys(), how.affine_rank)

    def groups(self, network: Network) -> list[dict[str, Any]]:
        """Parameter groups of the optimiser; `scale` is a group's learning rate in that of the head."""
        found: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for name, parameter in network.named_parameters():
            if not name.endswith(".original"):
                key = (self._scale(name), name in self._anchored)
                found.setdefault(key, []).append(parameter)
        return [
            {"params": parameters, "scale": scale} | ({"weight_decay": 0.0} if anchored else {})
            for (scale, anchored), parameters in found.items()
        ]

    def _scale(self, name: str) -> float:
        depth = self._depth.get(_plain(name), self._num_stages)
        return float(self._how.layer_decay ** (self._num_stages - depth))

    def prepare(self, network: Network, progress: float) -> None:
        """Before an update: what doesn't move yet has no gradient, and its normalisation no new statistics."""
        waiting = self._waiting(progress)
        for name, parameter in network.named_parameters():
            if not name.endswith(".original"):
                joined = self._depth.get(_plain(name), self._num_stages) >= waiting
                parameter.requires_grad_(joined and name not in self._still)
        if self._frozen:
            network.trunk.eval()
            return
        for module in network.trunk.modules():
            if isinstance(module, NORMS):
                module.train(any(parameter.requires_grad for parameter in module.parameters()))

    def _waiting(self, progress: float) -> int:
        """Number of stages, from the image on, that don't move yet."""
        every = self._how.unfreeze_every
        if self._frozen or not every:
            return self._num_stages if self._frozen else 0
        # + 1e-9: 0.3 of a training is after its third tenth, whatever the rounding
        return max(0, self._num_stages - int(progress / every + 1e-9))

    def penalty(self, network: Network) -> Tensor | float:
        """L2-SP: alpha / 2 |w - w_source|^2 over the weights that are the source's (Li et al. 2018, eq. 4)."""
        ways = [
            (network.get_parameter(name) - self.get_buffer(f"anchor_{number}")).square().sum()
            for number, name in enumerate(self._anchored)
        ]
        return self._how.l2_sp / 2 * torch.stack(ways).sum() if ways else 0.0

    def settle(self, network: Network) -> None:
        """After the training: an ordinary network, all of whose parts can move."""
        affine.settle(network)
        network.requires_grad_(True)


def _plain(name: str) -> str:
    """The name of the weight that a parameter of its map belongs to."""
    return MAPPED.sub(r".\1", name)
