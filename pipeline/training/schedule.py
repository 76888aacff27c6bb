"""How long and how fast a training goes."""

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.params import section


@section
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: updates of each player.
        lr: highest learning rate of AdamW; warmed up linearly, then lowered along a cosine to zero.
        warmup: share of the steps for the warm-up.
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
    """Learning rate of update `step`: linear warm-up, then a cosine down to zero (Loshchilov & Hutter 2017, eq. 5)."""
    highest = schedule.lr if highest is None else highest
    progress = (step + 1) / schedule.steps
    if progress <= schedule.warmup:
        return highest * progress / schedule.warmup
    return highest * 0.5 * (1 + math.cos(math.pi * (progress - schedule.warmup) / (1 - schedule.warmup)))
