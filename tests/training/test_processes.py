"""Several processes, parts of a batch and lower precision: the same training, up to rounding."""

from functools import partial

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.precision import has_bf16
from pipeline.training.batches import Batch
from pipeline.training.device import launch, make_fabric, num_devices
from pipeline.training.loop import Point, train
from pipeline.training.schedule import Schedule
from tests.tiny import bars, batch_of, schedule

LABELS = np.arange(16) % 3


class Rivals(nn.Module):
    """Two players over their own weights, without random numbers or statistics over a batch, channels last."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = (
            nn.Sequential(
                nn.Conv2d(1, 3, 3, 2, 1), nn.Conv2d(3, 2, 3, padding=1), nn.Flatten(), nn.Tanh(), nn.Linear(32, 3)
            )
            for _ in "ab"
        )
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def players(self) -> dict[str, list[nn.Parameter]]:
        return {"one": list(self.one.parameters()), "other": list(self.other.parameters())}

    def optimiser(self, player: str) -> dict[str, float]:
        return {"lr": 0.004} if player == "other" else {}

    def loss(self, player: str, batch: Batch, _progress: float) -> Tensor:
        if player == "one":
            return nn.functional.cross_entropy(self.one(batch.images), batch.labels)
        return (self.other(batch.images) - self.one(batch.images).detach()).square().mean()


def batch_at(step: int) -> Batch:
    return batch_of(bars(LABELS, seed=step), LABELS)


def fit(plan: Schedule, fabric: Fabric | None = None) -> tuple[dict[str, np.ndarray], list[Point]]:
    torch.manual_seed(0)
    model, points = train(Rivals(), batch_at, plan, seed=0, label="test", show=False, fabric=fabric)
    return {name: value.numpy() for name, value in model.state_dict().items()}, points


def assert_alike(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_allclose(other[name], value, rtol=1e-4, atol=1e-5)


def test_two_processes_train_as_one_with_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = schedule(steps=12, batch_size=16, ema_decay=0.9)
    alone, curve = fit(plan)
    monkeypatch.setenv("COUNTERWEIGHT_DEVICES", "2")
    together, points = launch(make_fabric(count=num_devices()), partial(fit, plan))
    assert_alike(alone, together)
    assert [point.loss for point in points] == pytest.approx([point.loss for point in curve], rel=1e-4)
    assert curve[-1].loss < curve[1].loss


def refuse(_: object) -> None:
    raise UserError("params.yaml: lr is wrong")


@pytest.mark.parametrize("count", [1, 2])
def test_a_mistake_of_the_user_s_is_one_line_from_other_processes_too(count: int) -> None:
    with pytest.raises(UserError, match=r"^params\.yaml: lr is wrong$"):
        launch(make_fabric(count=count), refuse)


def test_a_batch_in_four_parts_is_the_same_update() -> None:
    whole, curve = fit(schedule(steps=8, batch_size=16))
    parts, points = fit(schedule(steps=8, batch_size=16, accumulate=4))
    with pytest.raises(AssertionError):
        assert_alike(whole, fit(schedule(steps=8, batch_size=16, lr=0.003))[0])
    # 16 images in parts of 4: each part is a mean over as many images, so that the mean of the means is the whole's
    assert_alike(whole, parts)
    assert [point.loss for point in points] == pytest.approx([point.loss for point in curve], rel=1e-4)


def test_a_player_has_its_own_learning_rate() -> None:
    slow, _ = fit(schedule(steps=8, batch_size=16, lr=1e-9))
    torch.manual_seed(0)
    before = Rivals().state_dict()
    assert np.allclose(slow["one.1.weight"], before["one.1.weight"], atol=1e-7)
    assert not np.allclose(slow["other.1.weight"], before["other.1.weight"], atol=1e-3)


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bfloat16 products")
def test_in_bfloat16_it_still_learns_and_the_weights_stay_in_32_bits() -> None:
    plan = schedule(steps=60, batch_size=16, precision="auto", lr=0.01)
    weights, points = fit(plan)
    assert {value.dtype for value in weights.values()} == {np.dtype("float32")}
    assert points[-2].loss < 0.5 * points[0].loss
    exact, _ = fit(schedule(steps=60, batch_size=16, lr=0.01))
    assert not np.array_equal(weights["one.1.weight"], exact["one.1.weight"])


@pytest.mark.parametrize("given", ["0", "two", "-1"])
def test_a_wrong_number_of_devices_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_DEVICES", given)
    with pytest.raises(UserError, match=f"COUNTERWEIGHT_DEVICES must be a whole number of at least 1, got '{given}'"):
        num_devices()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"accumulate": 3}, "accumulate must divide batch_size 8, got 3"),
        ({"patience": 2}, "patience needs check_every of at least 1, got 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(wrong: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        schedule(**wrong)
