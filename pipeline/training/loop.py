"""The training loop: any number of players, each with its loss and its optimiser, averaged weights, exact resumption.

A model trains here if it is an `nn.Module` with
    players() -> dict[str, list[nn.Parameter]]: who minimises over which parameters, in the order they move;
    loss(player, batch, progress) -> Tensor []: what a player minimises; progress goes from 0 to 1 over the training;
    optimiser(player) -> dict (if it has one): what the player's optimiser has other than the schedule's (lr, betas, …);
    compilable() -> list (if it has one): parts that torch.compile may take;
    groups(player) -> list[dict] (if it has one): its parameters in groups, each with options of its own; `scale` is a
        group's learning rate in that of the player.
A VAE or a classifier has one player, a GAN two.

Random numbers of step k depend on the seed, the process and k alone, so that a resumed run draws what an uninterrupted
one would have drawn.
"""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pipeline.errors import UserError
from pipeline.progress import bar
from pipeline.seeds import derive
from pipeline.training.batches import Batch, in_order
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.compiling import compiling, eager
from pipeline.training.device import make_fabric
from pipeline.training.schedule import Schedule, learning_rate, make_optimiser

if TYPE_CHECKING:
    from lightning_fabric import Fabric

CURVE_POINTS = 200


class Trainable(Protocol):
    """What the loop asks of a model."""

    def players(self) -> dict[str, list[nn.Parameter]]:
        """Parameters that each player minimises over."""
        ...

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        """The scalar that `player` minimises."""
        ...


class Point(NamedTuple):
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
    keep: bool = False,
    show: bool = True,
    fabric: "Fabric | None" = None,
    validate: Callable[[nn.Module], float] | None = None,
    watch: dict[int, Callable[[nn.Module], None]] | None = None,
) -> tuple[nn.Module, list[Point]]:
    """Trains `model` and returns the network to use with its loss curve; a killed run goes on from its checkpoint.

    Args:
        batch_at: the batch of a step; where several processes train together each takes its share of it.
        keep: leaves the checkpoint of a training that was long enough for one, done, for a caller with more to do.
        fabric: devices, precision and processes; one device and full precision by default.
        validate: what the averaged network is to make small; measured every `schedule.check_every` steps. The best
            network is the result, and training ends when `schedule.patience` measurements in a row brought none better.
        watch: called after so many steps with the averaged network.

    Raises:
        UserError: the loss is no longer a number.
    """
    fabric = fabric or make_fabric(schedule.precision)
    run = _Run(model, schedule, fabric, label)
    steps, best = schedule.steps, _Best(schedule, validate) if validate and schedule.check_every else None
    first = fabric.is_global_zero
    start = checkpoint.load(run.state() | (best.state(run.chosen()) if best else {})) if checkpoint else 0
    with (
        torch.random.fork_rng(),
        bar(label, steps, "step", done=start) if show and first else _Silent() as shown,
        compiling(model, fabric.device, steps, label) as compile_if_it_pays,
    ):
        left = range(start, steps)
        for step, batch in zip(left, in_order(batch_at, left, ahead=fabric.device.type != "cpu"), strict=True):
            torch.manual_seed(derive(seed, "step", step, fabric.global_rank))
            compile_if_it_pays(step)
            run.step(step, batch)
            shown.update()
            if (step + 1) % run.interval == 0 or step + 1 == steps:
                run.note(step)
                shown.set_postfix(run.told(step))
            if watch and first and (seen := watch.get(step + 1)):
                with asked(run.chosen()) as network:
                    seen(network)
            if best and (step + 1) % schedule.check_every == 0 and best.is_enough(run.chosen(), fabric):
                run.stopped_after = step + 1
                run.note(step)
                break
            if checkpoint and first and step + 1 < steps:
                checkpoint.save_if_due(lambda: run.state() | (best.state(run.chosen()) if best else {}), step + 1)
    if checkpoint and first:
        if keep and best is None:
            checkpoint.save_if_begun(run.state, steps)
        else:
            checkpoint.remove()
    return ((best and best.chosen()) or run.chosen()).eval(), run.points()


@contextmanager
def asked(network: nn.Module) -> Iterator[nn.Module]:
    """The network as it is used, without dropout and statistics of a batch; afterwards it trains on as before."""
    was_training = network.training
    network.eval()
    try:
        with eager(network):
            yield network
    finally:
        network.train(was_training)


class _Run:
    """Everything that changes while training."""

    def __init__(self, model: nn.Module, schedule: Schedule, fabric: "Fabric", label: str) -> None:
        self.model, self.schedule, self.fabric, self.label = model.train(), schedule, fabric, label
        self.players: dict[str, list[nn.Parameter]] = model.players()  # type: ignore[operator]
        own: Callable[[str], dict[str, Any]] = getattr(model, "optimiser", lambda _player: {})
        grouped: Callable[[str], Any] = getattr(model, "groups", self.players.__getitem__)
        self.optimisers = {player: make_optimiser(schedule, grouped(player), **own(player)) for player in self.players}
        self.rates = {player: float(optimiser.defaults["lr"]) for player, optimiser in self.optimisers.items()}
        average = get_ema_multi_avg_fn(schedule.ema_decay)  # type: ignore[no-untyped-call]
        self.average = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if schedule.ema_decay else None
        self.interval = max(1, schedule.steps // CURVE_POINTS)
        self.stopped_after = schedule.steps
        # Tensors, so that a checkpoint holds the curve too: sums of losses since the last point (where the model is, so
        # that a GPU is not waited for at every step), and of each interval, a row a player.
        device = next(model.parameters()).device
        self.recent = torch.zeros(len(self.players), dtype=torch.float64, device=device)
        self.curve = torch.zeros(len(self.players), math.ceil(schedule.steps / self.interval), dtype=torch.float64)
        self._images, self._since = 0, time.monotonic()

    def step(self, step: int, batch: Batch) -> None:
        """One update of each player, on this process's share of the batch."""
        rank, processes, parts = self.fabric.global_rank, self.fabric.world_size, self.schedule.accumulate
        pieces = [batch.part(rank + k * processes, processes * parts, self.recent.device) for k in range(parts)]
        for number, (player, parameters) in enumerate(self.players.items()):
            optimiser = self.optimisers[player]
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(self.schedule, step, self.rates[player]) * group.get("scale", 1.0)
            optimiser.zero_grad(set_to_none=True)
            for piece in pieces:
                with self.fabric.autocast():
                    loss = self.model.loss(player, piece, step / self.schedule.steps)  # type: ignore[operator]
                    loss = loss / parts
                loss.backward()
                self.recent[number] += loss.detach()
            self._agree(parameters)
            nn.utils.clip_grad_norm_(parameters, self.schedule.max_grad_norm)
            optimiser.step()
        if self.average is not None:
            self.average.update_parameters(self.model)
        self._images += len(batch.labels)

    def _agree(self, parameters: list[nn.Parameter]) -> None:
        """Makes every process's gradients their mean over the processes."""
        if self.fabric.world_size == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        sizes = [gradient.numel() for gradient in gradients]
        flat = torch.cat([gradient.flatten() for gradient in gradients])  # a copy: channels may come last in memory
        mean: Tensor = self.fabric.all_reduce(flat, reduce_op="mean")  # type: ignore[assignment]
        for gradient, part in zip(gradients, torch.split(mean, sizes), strict=True):
            gradient.copy_(part.view_as(gradient))

    def note(self, step: int) -> None:
        """Adds a point to the curve.

        Raises:
            UserError: a loss is no longer a number.
        """
        values = self.fabric.all_reduce(self.recent.clone(), reduce_op="mean").cpu()  # type: ignore[union-attr]
        self.recent.zero_()
        for player, value in zip(self.players, values.tolist(), strict=True):
            if not math.isfinite(value):
                raise UserError(
                    f"{self.label}: the loss of {player} is {value} at step {step}; lower lr in params.yaml"
                )
        self.curve[:, step // self.interval] += values

    def chosen(self) -> nn.Module:
        """The network to use: the averaged one, if there is one."""
        return self.average.module if self.average is not None else self.model

    def points(self) -> list[Point]:
        """The curve: the mean loss of each interval."""
        steps = self.stopped_after
        return [
            Point(
                min((i + 1) * self.interval, steps),
                player,
                float(total) / min(self.interval, steps - i * self.interval),
            )
            for i in range(math.ceil(steps / self.interval))
            for player, total in zip(self.players, self.curve[:, i], strict=True)
        ]

    def told(self, step: int) -> dict[str, str]:
        """Mean losses of the interval that `step` ends (the last may be short); images a second since the last call."""
        column = self.curve[:, step // self.interval] / (step % self.interval + 1)
        now = time.monotonic()
        pace = self._images / max(now - self._since, 1e-9)
        self._images, self._since = 0, now
        losses = {player: f"{value:.4g}" for player, value in zip(self.players, column.tolist(), strict=True)}
        return losses | {"images/s": f"{pace:.3g}"}

    def state(self) -> dict[str, nn.Module | torch.optim.Optimizer | Tensor]:
        """What a checkpoint holds."""
        state: dict[str, nn.Module | torch.optim.Optimizer | Tensor] = {
            "model": self.model,
            "curve": self.curve,
            "recent": self.recent,
        }
        state |= {f"optimiser.{player}": optimiser for player, optimiser in self.optimisers.items()}
        return state | ({"average": self.average} if self.average is not None else {})


class _Best:
    """The best network so far by the validation measure."""

    def __init__(self, schedule: Schedule, validate: Callable[[nn.Module], float]) -> None:
        self._patience, self._validate = schedule.patience, validate
        self.network: nn.Module | None = None
        self._score = torch.tensor([math.inf, 0.0], dtype=torch.float64)  # the best value, measurements since then

    def is_enough(self, network: nn.Module, fabric: "Fabric") -> bool:
        """Measures; whether training should end."""
        with torch.random.fork_rng(), torch.no_grad(), asked(network):
            value = float(fabric.broadcast(self._validate(network)))
        if value < self._score[0]:
            self.network = deepcopy(network)
            self._score.copy_(torch.tensor([value, 0.0]))
        else:
            self._score[1] += 1
        return 0 < self._patience <= int(self._score[1])

    def chosen(self) -> nn.Module | None:
        """The best network; None before the first measurement."""
        return self.network if math.isfinite(self._score[0]) else None

    def state(self, network: nn.Module) -> dict[str, nn.Module | torch.optim.Optimizer | Tensor]:
        """What a checkpoint holds; before the first measurement `network` stands in."""
        self.network = self.network or deepcopy(network)
        return {"best": self.network, "score": self._score}


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
