"""The training loop: any number of players, each with its loss and its optimiser, averaged weights, exact resumption.

A model trains here if it is an `nn.Module` with
    players() -> dict[str, list[nn.Parameter]]: who minimises over which parameters, in the order they move;
    loss(player, batch, progress) -> Tensor []: what a player minimises; progress goes from 0 to 1 over the training.
A VAE or a classifier has one player, a GAN two.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.errors import UserError
from pipeline.params import section
from pipeline.progress import bar
from pipeline.training.batches import Batch
from pipeline.training.checkpoint import Checkpoint

CURVE_POINTS = 200


class Trainable(Protocol):
    """What the loop asks of a model."""

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that each player minimises over."""
        ...

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """The scalar that `player` minimises."""
        ...


@section
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: updates of each player.
        lr: highest learning rate of AdamW; warmed up linearly, then lowered along a cosine to zero.
        warmup: share of the steps for the warm-up.
        ema_decay: decay a step of the averaged weights, which are the result; 0 takes the last weights.
        max_grad_norm: gradients are clipped to this norm.
    """

    steps: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    max_grad_norm: Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Point:
    """Mean loss of a player since the point before."""

    step: int
    player: str
    loss: float


def train(
    model: nn.Module,
    batch_at: Callable[[int], Batch],
    schedule: Schedule,
    *,
    seed: int,
    label: str,
    checkpoint: Checkpoint | None = None,
    show: bool = True,
) -> tuple[nn.Module, list[Point]]:
    """Trains `model` and returns the network to use with its loss curve; a killed run goes on from its checkpoint.

    Raises:
        UserError: the loss is no longer a number.
    """
    device = next(model.parameters()).device
    run = _Run(model, schedule)
    with torch.random.fork_rng(), bar(label, schedule.steps, "step") if show else _Silent() as shown:
        torch.manual_seed(seed)
        start = checkpoint.load(run.state()) if checkpoint else 0
        shown.update(start)
        for step in range(start, schedule.steps):
            batch = Batch(*(part.to(device, non_blocking=True) for part in batch_at(step)))
            run.step(step, batch, label)
            shown.update()
            if checkpoint and step + 1 < schedule.steps:
                checkpoint.save_if_due(run.state, step + 1)
            if (step + 1) % run.interval == 0:
                shown.set_postfix(run.last_losses(step))
    if checkpoint:
        checkpoint.remove()
    return run.result(), run.points()


class _Run:
    """Everything that changes while training."""

    def __init__(self, model: nn.Module, schedule: Schedule) -> None:
        self.model, self.schedule = model.train(), schedule
        self.players: dict[str, list[nn.Parameter]] = model.players()  # type: ignore[operator]
        self.optimisers = {
            player: torch.optim.AdamW(parameters, lr=schedule.lr, weight_decay=schedule.weight_decay)
            for player, parameters in self.players.items()
        }
        average = get_ema_multi_avg_fn(schedule.ema_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if schedule.ema_decay else None
        self.interval = max(1, schedule.steps // CURVE_POINTS)
        # Sum of losses in each interval, a row a player: a tensor, so that a checkpoint holds the curve too.
        self.curve = torch.zeros(len(self.players), math.ceil(schedule.steps / self.interval), dtype=torch.float64)

    def step(self, step: int, batch: Batch, label: str) -> None:
        for number, (player, parameters) in enumerate(self.players.items()):
            optimiser = self.optimisers[player]
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(self.schedule, step)
            optimiser.zero_grad(set_to_none=True)
            loss = self.model.loss(player, batch, step / self.schedule.steps)  # type: ignore[operator]
            value = loss.item()
            if not math.isfinite(value):
                raise UserError(f"{label}: the loss of {player} is {value} at step {step}; lower lr in params.yaml")
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, self.schedule.max_grad_norm)
            optimiser.step()
            self.curve[number, step // self.interval] += value
        if self.average is not None:
            self.average.update_parameters(self.model)

    def result(self) -> nn.Module:
        chosen = self.average.module if self.average is not None else self.model
        return chosen.eval()

    def points(self) -> list[Point]:
        steps = self.schedule.steps
        return [
            Point(
                min((i + 1) * self.interval, steps),
                player,
                float(total) / min(self.interval, steps - i * self.interval),
            )
            for i in range(self.curve.shape[1])
            for player, total in zip(self.players, self.curve[:, i], strict=True)
        ]

    def last_losses(self, step: int) -> dict[str, str]:
        """Mean losses of the interval that ends with `step`."""
        column = self.curve[:, step // self.interval] / self.interval
        return {player: f"{value:.4g}" for player, value in zip(self.players, column.tolist(), strict=True)}

    def state(self) -> dict[str, nn.Module | torch.optim.Optimizer | Tensor]:
        state: dict[str, nn.Module | torch.optim.Optimizer | Tensor] = {"model": self.model, "curve": self.curve}
        state |= {f"optimiser.{player}": optimiser for player, optimiser in self.optimisers.items()}
        return state | ({"average": self.average} if self.average is not None else {})


class _Silent:
    """Stands in for a progress bar where a job's parent already shows one."""

    def __enter__(self) -> "_Silent":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def update(self, n: int = 1) -> None:
        """Shows nothing."""

    def set_postfix(self, _: dict[str, str]) -> None:
        """Shows nothing."""


def learning_rate(schedule: Schedule, step: int) -> float:
    """Learning rate of update `step`: linear warm-up, then a cosine down to zero (Loshchilov & Hutter 2017, eq. 5)."""
    progress = (step + 1) / schedule.steps
    if progress <= schedule.warmup:
        return schedule.lr * progress / schedule.warmup
    return schedule.lr * 0.5 * (1 + math.cos(math.pi * (progress - schedule.warmup) / (1 - schedule.warmup)))
