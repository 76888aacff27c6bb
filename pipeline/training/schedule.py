"""How long and how fast a training goes."""

import math
from collections.abc import Iterable
from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from pipeline.errors import UserError
from pipeline.params import section

MOMENTUM = 0.9  # of SGD


@section
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: updates of each player.
        lr: highest learning rate; warmed up linearly, then lowered.
        warmup: share of the steps for the warm-up.
        optimiser: AdamW, or SGD with Nesterov momentum 0.9, whose weight decay is part of the gradient.
        decay: along a cosine to zero, or in steps.
        decay_at: shares of the steps after which the rate is multiplied by `decay_factor`.
        ema_decay: decay a step of the averaged weights, which are the result; 0 takes the last weights.
        max_grad_norm: gradients are clipped to this norm.
        accumulate: parts that a batch is cut into, one after the other, to save memory.
        precision: of the products; bf16 keeps the weights in 32 bits, and auto takes it where the hardware has it.
        check_every: steps between two measurements on validation images; 0 for none.
        patience: measurements in a row without a better one after which training ends; 0 for never.
    """

    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    max_grad_norm: Annotated[float, Field(gt=0)]
    optimiser: Literal["adamw", "sgd"] = "adamw"
    decay: Literal["cosine", "step"] = "cosine"
    decay_at: list[Annotated[float, Field(gt=0, lt=1)]] = field(default_factory=lambda: [0.8, 0.9])
    decay_factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    accumulate: Annotated[int, Field(ge=1)] = 1
    precision: Literal["auto", "32", "bf16"] = "32"
    check_every: Annotated[int, Field(ge=0)] = 0
    patience: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _divides(self) -> "Schedule":
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate must divide batch_size {self.batch_size}, got {self.accumulate}")
        if self.patience and not self.check_every:
            raise ValueError("patience needs check_every of at least 1, got 0")
        return self


def learning_rate(schedule: Schedule, step: int, highest: float | None = None) -> float:
    """Learning rate of update `step`: warm-up, then steps, or a cosine to zero (Loshchilov & Hutter 2017, eq. 5)."""
    highest = schedule.lr if highest is None else highest
    progress = (step + 1) / schedule.steps
    if progress <= schedule.warmup:
        return highest * progress / schedule.warmup
    if schedule.decay == "step":
        return highest * schedule.decay_factor ** sum(step >= at * schedule.steps for at in schedule.decay_at)
    return highest * 0.5 * (1 + math.cos(math.pi * (progress - schedule.warmup) / (1 - schedule.warmup)))


def make_optimiser(
    schedule: Schedule, parameters: Iterable[nn.Parameter] | list[dict[str, Any]], **own: Any
) -> torch.optim.Optimizer:
    """The optimiser that the schedule asks for; `own`, and what a group has, counts instead of what the schedule says.

    Raises:
        UserError: `own` has what only AdamW knows, and it is another.
    """
    options = {"lr": schedule.lr, "weight_decay": schedule.weight_decay} | own
    if schedule.optimiser == "adamw":
        return torch.optim.AdamW(parameters, **options)
    if unknown := options.keys() - {"lr", "weight_decay"}:
        raise UserError(f"params.yaml: schedule.optimiser: what is trained sets {', '.join(unknown)}; take adamw")
    return torch.optim.SGD(parameters, momentum=MOMENTUM, nesterov=True, **options)
