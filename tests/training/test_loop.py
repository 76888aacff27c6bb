"""The training loop on models small enough to know what must come out."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from pipeline import progress
from pipeline.errors import UserError
from pipeline.training import loop
from pipeline.training.batches import Batch
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.loop import train
from pipeline.training.schedule import Schedule, learning_rate
from tests.tiny import schedule


class Duel(nn.Module):
    """Two players: `left` wants the data's mean; `right` wants what is left over, and would drag `left` along."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 1), nn.Linear(4, 1)
        self.drop = nn.Dropout(0.5)  # draws from the global generator, which a resumed run must continue

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"left": list(self.left.parameters()), "right": list(self.right.parameters())}

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        x = self.drop(batch.images.flatten(1))
        if player == "left":
            return (self.left(x) - batch.labels[:, None].float()).square().mean()
        return (self.left(x) + self.right(x) - progress).square().mean()


class Scalar(nn.Module):
    """loss = slope * w: the gradient is `slope` whatever w is."""

    def __init__(self, slope: float = 1.0) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(0.0))
        self.register_buffer("seen", torch.tensor(0.0))
        self.slope = slope

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"it": [self.w]}

    def loss(self, _player: str, batch: Batch, _progress: float) -> Tensor:
        self.seen += 1
        return self.slope * self.w + batch.weights.mean()


def batch_at(step: int) -> Batch:
    rng = torch.Generator().manual_seed(step)
    labels = torch.randint(0, 2, (8,), generator=rng)
    zeros = torch.zeros_like(labels)
    return Batch(torch.randn(8, 1, 2, 2, generator=rng), labels, torch.ones(8), zeros, zeros.bool())


def duel() -> Duel:
    torch.manual_seed(0)
    return Duel()


def run(model: nn.Module, plan: Schedule, batches: Callable[[int], Batch] = batch_at, **more: object) -> nn.Module:
    return train(model, batches, plan, seed=3, label="test", show=False, **more)[0]  # type: ignore[arg-type]


def equal(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


# ------------------------------------------------------------ learning rate, gradient norm, average


def test_learning_rate_by_hand() -> None:
    plan = schedule(steps=10, lr=1.0, warmup=0.2)
    half = [0.5 * (1 + math.cos(math.pi * k / 8)) for k in range(1, 9)]
    assert [learning_rate(plan, step) for step in range(10)] == pytest.approx([0.5, 1.0, *half])
    assert learning_rate(plan, 5) == pytest.approx(0.5)  # in the middle of the cosine
    assert learning_rate(plan, 9) == pytest.approx(0.0)


def test_without_warm_up_it_starts_just_below_the_highest() -> None:
    assert learning_rate(schedule(steps=4, lr=2.0), 0) == pytest.approx(1 + math.cos(math.pi / 4))


def test_the_weights_move_by_the_learning_rates() -> None:
    # Adam's update for a constant gradient is lr itself, whatever the gradient's size: w = -(sum of lr).
    plan = schedule(steps=10, lr=0.1, warmup=0.2)
    for slope in (1.0, 1e-3):
        w = run(Scalar(slope), plan).w
        assert w.item() == pytest.approx(-sum(learning_rate(plan, step) for step in range(10)), rel=1e-4)


def test_a_rate_in_steps_by_hand() -> None:
    plan = schedule(steps=10, lr=1.0, warmup=0.2, decay="step", decay_at=[0.5, 0.8], decay_factor=0.1)
    expected = [0.5, 1.0, 1.0, 1.0, 1.0, 0.1, 0.1, 0.1, 0.01, 0.01]
    assert [learning_rate(plan, step) for step in range(10)] == pytest.approx(expected)


def test_sgd_s_weights_move_as_nesterov_s_momentum_says() -> None:
    # v = 0.9 v + g, w -= lr (g + 0.9 v), where g is the slope and the pull of the weight decay (Sutskever et al. 2013)
    plan = schedule(steps=6, lr=0.1, decay="step", decay_at=[0.5], weight_decay=0.2, optimiser="sgd")
    w, v = 0.0, 0.0
    for step in range(6):
        g = 3.0 + 0.2 * w
        v = 0.9 * v + g
        w -= learning_rate(plan, step) * (g + 0.9 * v)
    assert run(Scalar(slope=3.0), plan).w.item() == pytest.approx(w, rel=1e-5)


def test_what_sets_betas_cannot_be_trained_by_sgd() -> None:
    class Particular(Scalar):
        def optimiser(self, _player: str) -> dict[str, object]:
            return {"lr": 0.1, "betas": (0.0, 0.9)}

    run(Particular(), schedule())
    told = r"^params.yaml: schedule.optimiser: what is trained sets betas; take adamw$"
    with pytest.raises(UserError, match=told):
        run(Particular(), schedule(optimiser="sgd"))


def test_gradients_are_clipped_to_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    step = torch.optim.AdamW.step

    def record(self: torch.optim.AdamW, closure: None = None) -> None:
        seen.extend(p.grad.item() for group in self.param_groups for p in group["params"])
        step(self, closure)

    monkeypatch.setattr(torch.optim.AdamW, "step", record)
    run(Scalar(slope=50.0), schedule(steps=2, max_grad_norm=2.0))
    assert seen == pytest.approx([2.0, 2.0], rel=1e-4)


def test_the_result_is_the_running_average_of_the_weights() -> None:
    # a_1 = w_1 (there is nothing to average with), then a_k = d a_(k-1) + (1 - d) w_k
    plan = schedule(steps=5, lr=0.1, warmup=0.0, ema_decay=0.8)
    w, average = 0.0, None
    for step in range(5):
        w -= learning_rate(plan, step)
        average = w if average is None else 0.8 * average + 0.2 * w
    model = Scalar()
    result = run(model, plan)
    assert result.w.item() == pytest.approx(average, rel=1e-4)
    assert model.w.item() == pytest.approx(w, rel=1e-4)


def test_without_a_decay_the_last_weights_are_the_result() -> None:
    model = Scalar()
    assert run(model, schedule()) is model
    assert not model.training
    assert model.seen == 10


def test_the_curve_holds_the_mean_loss_since_the_point_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CURVE_POINTS", 2)
    plan = schedule(steps=5, lr=1e-9)  # w stays 0, the loss is the mean weight: the number of the step

    def numbered(step: int) -> Batch:
        return batch_at(0)._replace(weights=torch.full((8,), float(step)))

    _, points = train(Scalar(), numbered, plan, seed=0, label="test", show=False)
    assert [(point.step, point.player) for point in points] == [(2, "it"), (4, "it"), (5, "it")]
    assert [point.loss for point in points] == pytest.approx([0.5, 2.5, 4.0], abs=1e-6)


# ------------------------------------------------------------ players, randomness, guards


def test_both_players_move_and_each_moves_its_own_weights_only() -> None:
    start, both = duel(), run(duel(), schedule())
    assert not equal(start.left, both.left)
    assert not equal(start.right, both.right)

    class OneMoves(Duel):
        def players(self) -> dict[str, list[nn.Parameter]]:
            return {"right": super().players()["right"]}

    torch.manual_seed(0)
    alone = run(OneMoves(), schedule())
    assert equal(start.left, alone.left)  # although the loss of `right` has a gradient there
    assert not equal(start.right, alone.right)


def test_equal_seeds_give_equal_weights_and_the_global_rng_is_left_alone() -> None:
    models = [duel(), duel()]
    before = torch.get_rng_state()
    one, same = (run(model, schedule()) for model in models)
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(one, same)
    other, _ = train(duel(), batch_at, schedule(), seed=4, label="test", show=False)
    assert not equal(one, other)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_training_and_names_the_place(value: float) -> None:
    def broken(step: int) -> Batch:
        return batch_at(step)._replace(weights=torch.full((8,), value if step == 3 else 1.0))

    with pytest.raises(UserError) as caught:
        run(Scalar(), schedule(), broken)
    assert str(caught.value) == f"test: the loss of it is {value} at step 3; lower lr in params.yaml"


def test_the_last_loss_that_is_told_is_a_mean_though_its_interval_is_shorter(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_INTERVAL_S", 0.0)
    plan = schedule(steps=2 * loop.CURVE_POINTS + 1)  # in intervals of two steps
    train(Scalar(slope=0.0), batch_at, plan, seed=3, label="test")  # the loss is 1
    told = capsys.readouterr().err.splitlines()
    assert all(", it 1, " in line for line in told[2:])
    assert f"{plan.steps}/{plan.steps} step" in told[-1]


# ------------------------------------------------------------ checkpoints


class Killed(BaseException):
    """Stands in for the end of the process."""


def dies_at(last: int) -> Callable[[int], Batch]:
    def batches(step: int) -> Batch:
        if step == last:
            raise Killed
        return batch_at(step)

    return batches


def checkpoint() -> Checkpoint:
    return Checkpoint({"seed": 3}, ["training/loop.py"], interval_s=0)


@pytest.mark.parametrize("optimiser", ["adamw", "sgd"])
@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("last", [1, 7])
def test_killed_and_run_again_it_ends_bit_for_bit_the_same(decay: float, last: int, optimiser: str) -> None:
    plan = schedule(steps=12, ema_decay=decay, weight_decay=0.1, warmup=0.2, optimiser=optimiser)
    whole, points = train(duel(), batch_at, plan, seed=3, label="test", show=False)
    with pytest.raises(Killed):
        run(duel(), plan, dies_at(last), checkpoint=checkpoint())
    assert checkpoint().path.is_file()

    asked: list[int] = []

    def batches(step: int) -> Batch:
        asked.append(step)
        return batch_at(step)

    resumed, again = train(duel(), batches, plan, seed=3, label="test", show=False, checkpoint=checkpoint())
    assert asked == list(range(last, 12))
    assert equal(whole, resumed)
    assert points == again
    assert not checkpoint().path.exists()


class Moody(Scalar):
    """Notes whether it is being trained whenever its loss is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.moods: list[bool] = []

    def loss(self, player: str, batch: Batch, progress: float) -> Tensor:
        self.moods.append(self.training)
        return super().loss(player, batch, progress)


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_being_looked_at_measured_and_saved_on_the_way_it_stays_in_training(decay: float) -> None:
    model, seen = Moody(), []
    plan = schedule(steps=6, ema_decay=decay, check_every=2)

    def measure(network: nn.Module) -> float:
        seen.append(network.training)
        return -float(len(seen))

    result = run(model, plan, checkpoint=checkpoint(), validate=measure, watch={3: lambda n: seen.append(n.training)})
    assert model.moods == [True] * 6
    assert seen == [False] * 4
    assert not result.training


def test_the_best_network_is_the_result_and_the_training_ends_when_patience_is_over() -> None:
    values, weights = iter([3.0, 1.0, 2.0, 1.0, 0.0]), []

    def measure(network: nn.Module) -> float:
        weights.append(network.w.item())
        return next(values)

    plan = schedule(steps=10, lr=0.1, check_every=2, patience=2)
    model, points = train(Scalar(), batch_at, plan, seed=3, label="test", show=False, validate=measure)
    assert len(weights) == 4  # 1.0 again is no better
    assert model.w.item() == weights[1]
    assert points[-1].step == 8


def test_a_damaged_checkpoint_is_told_and_the_training_starts_anew(capsys: pytest.CaptureFixture[str]) -> None:
    whole = run(duel(), schedule())
    with pytest.raises(Killed):
        run(duel(), schedule(), dies_at(5), checkpoint=checkpoint())
    path = checkpoint().path
    path.write_bytes(path.read_bytes()[:-100])
    asked: list[int] = []

    def batches(step: int) -> Batch:
        asked.append(step)
        return batch_at(step)

    capsys.readouterr()
    assert equal(whole, run(duel(), schedule(), batches, checkpoint=checkpoint()))
    assert asked == list(range(10))
    assert "is damaged" in capsys.readouterr().err


def test_the_interval_between_two_saves_is_kept() -> None:
    with pytest.raises(Killed):
        run(duel(), schedule(), dies_at(5), checkpoint=Checkpoint({"seed": 3}, ["training/loop.py"], interval_s=60))
    assert not checkpoint().path.exists()
