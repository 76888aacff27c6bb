import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.generators import noise
from pipeline.generators._unet import Attention, Dropout, UNet, time_features
from pipeline.generators.flow import Flow, Params, Sampling, Solver, class_balancing, integrate, squared_error
from pipeline.precision import has_bf16
from pipeline.training.batches import Batch
from pipeline.training.loop import train
from tests.tiny import bars, batch_of, schedule

OPTIONS: dict[str, Any] = {"width": 4, "dropout": 0.0, "label_dropout": 0.0, "times": "uniform", "class_balance": 0.0}
SHAPE = (1, 8, 8)
NO_CLASS = 3


def flow(**changes: Any) -> Flow:
    torch.manual_seed(0)
    return Flow(Params(**(OPTIONS | changes)), SHAPE, num_classes=3)


def batch(count: int = 6) -> Batch:
    labels = np.arange(count) % 3
    return batch_of(bars(labels), labels)


# ------------------------------------------------------------ the path and its velocity


def test_the_exact_field_of_one_image_has_no_loss_and_leads_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # All paths to a lead along (a - x) / (1 - t), and Euler's last step, of length 1 - t, ends in a.
    model, images = flow(), batch(1).images
    monkeypatch.setattr(model, "velocity", lambda x, t, *_: (images - x) / (1 - t).view(-1, 1, 1, 1))
    many = batch(64)._replace(images=images.expand(64, -1, -1, -1))
    assert model.loss("flow", many, 0.5).item() < 1e-6
    for steps in (1, 3, 10):
        made = model.sample(np.array([0, 1]), np.array([5, 6]), Sampling(steps=steps, solver="euler"))
        torch.testing.assert_close(made, images.expand(2, -1, -1, -1), atol=1e-5, rtol=0)


def test_the_field_that_stands_still_loses_the_squared_length_of_the_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    # E (x_1 - x_0)^2 = x_1^2 + 1 for each pixel, x_0 being standard normal.
    model = flow()
    monkeypatch.setattr(model, "velocity", lambda x, *_: torch.zeros_like(x))
    many = batch(3000)
    expected = many.images.square().mean() + 1
    torch.manual_seed(0)
    torch.testing.assert_close(model.loss("flow", many, 0.5), expected, rtol=0.02, atol=0)


@pytest.mark.parametrize(("times", "share"), [("uniform", 0.7310586), ("logit_normal", 0.8413447)])
def test_times_by_hand(times: str, share: float) -> None:
    # sigmoid(1) = 0.731; a standard normal number lies below 1 with probability 0.841.
    torch.manual_seed(0)
    drawn = flow(times=times)._times(100_000, torch.device("cpu"))
    assert drawn.min() > 0
    assert drawn.max() < 1
    assert float((drawn < 0.7310586).float().mean()) == pytest.approx(share, abs=0.005)
    assert float((drawn < 0.5).float().mean()) == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_a_share_of_the_labels_is_hidden(share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = flow(label_dropout=share), []

    def record(
        x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, style: torch.Tensor, *_: torch.Tensor | None
    ) -> torch.Tensor:
        seen.append(labels)
        return x

    monkeypatch.setattr(model, "velocity", record)
    many = batch(9000)
    torch.manual_seed(0)
    model.loss("flow", many, 0.5)
    (labels,) = seen
    assert float((labels == NO_CLASS).float().mean()) == pytest.approx(share, abs=0.02)
    kept = labels != NO_CLASS
    assert torch.equal(labels[kept], many.labels[kept])


# ------------------------------------------------------------ the solver


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_constant_field_is_followed_exactly(solver: Solver) -> None:
    start = torch.tensor([1.0, -2.0], dtype=torch.float64)
    end = integrate(lambda x, _t: torch.tensor([0.5, 3.0]).to(x.dtype), start, 7, solver)
    torch.testing.assert_close(end, torch.tensor([1.5, 1.0], dtype=torch.float64))


@pytest.mark.parametrize(("solver", "factor"), [("euler", 1 + 0.25), ("heun", 1 + 0.25 + 0.25**2 / 2)])
def test_a_linear_field_by_hand(solver: Solver, factor: float) -> None:
    # dx/dt = x: a step of 1/4 multiplies by Taylor's series of e^(1/4), up to the method's order.
    end = integrate(lambda x, _t: x, torch.ones(1, dtype=torch.float64), 4, solver)
    assert end.item() == pytest.approx(factor**4, rel=1e-12)


@pytest.mark.parametrize(("solver", "expected"), [("euler", 1 - 1 / 5), ("heun", 1.0)])
def test_a_field_that_depends_on_time_by_hand(solver: Solver, expected: float) -> None:
    # dx/dt = 2 t: Euler sums 2 k / 25 over k = 0 … 4, the trapezium rule is exact.
    end = integrate(lambda x, t: torch.full_like(x, 2 * t), torch.zeros(1, dtype=torch.float64), 5, solver)
    assert end.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_solver_s_order(solver: Solver, order: int) -> None:
    def error(steps: int) -> float:
        start = torch.ones(1, dtype=torch.float64)
        end = integrate(lambda x, t: x * math.cos(t), start, steps, solver)  # x = exp(sin t)
        return abs(end.item() - math.exp(math.sin(1)))

    assert math.log2(error(32) / error(64)) == pytest.approx(order, abs=0.1)


# ------------------------------------------------------------ drawing


@pytest.mark.parametrize("guidance", [0.0, 1.0, 3.0])
def test_guidance_by_hand(guidance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    # Constant fields, 0.1 (y + 1) for class y and -0.1 for none: noise moves by v_0 + guidance (v_y - v_0).
    model, asked = flow(), []

    def field(
        x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, style: torch.Tensor, *_: torch.Tensor | None
    ) -> torch.Tensor:
        asked.append(labels)
        v = torch.where(labels == NO_CLASS, -0.1, 0.1 * (labels + 1))
        return v.view(-1, 1, 1, 1).expand_as(x)

    monkeypatch.setattr(model, "velocity", field)
    labels, seeds = np.array([0, 2]), np.array([5, 6])
    made = model.sample(labels, seeds, Sampling(guidance=guidance, steps=4))
    start = noise(seeds, 65)[:, :64].view(2, *SHAPE)
    moved = torch.tensor([-0.1 + guidance * 0.2, -0.1 + guidance * 0.4]).view(2, 1, 1, 1)
    torch.testing.assert_close(made, (start + moved).clamp(-1, 1))
    assert any((labels == NO_CLASS).any() for labels in asked) == (guidance != 1)  # who is not asked costs nothing


@pytest.mark.parametrize("limit", [0.0, 0.5])
def test_source_style_bounds_how_far_a_sample_goes_to_the_source_domain(
    limit: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = flow(), []

    def record(
        x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor, style: torch.Tensor, *_: torch.Tensor | None
    ) -> torch.Tensor:
        seen.append(style)
        return x

    monkeypatch.setattr(model, "velocity", record)
    model.sample(np.full(192, 1), np.arange(192), Sampling(steps=1, solver="euler", source_style=limit))
    styles = torch.cat(seen)
    assert styles.min() >= 0
    assert 0.9 * limit <= styles.max() <= limit


def test_the_domain_matters_to_the_field() -> None:
    model, images = flow(), batch(2)
    t = torch.tensor([0.5, 0.5])
    target, middle, source = (model.velocity(images.images, t, images.labels, torch.full((2,), s)) for s in (0, 0.5, 1))
    assert not torch.equal(target, source)
    assert not torch.equal(target, middle)


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bfloat16 products")
def test_in_lower_precision_images_differ_by_less_than_a_grey_level_and_by_nothing_but_label_and_seed() -> None:
    model = train(flow(), lambda _step: batch(64), schedule(steps=60, lr=0.003), seed=0, label="flow", show=False)[0]
    labels, seeds = np.arange(40) % 3, np.arange(40)
    lower, exact = Sampling(guidance=2.0, steps=6, precision="auto"), Sampling(guidance=2.0, steps=6)
    made = model.sample(labels, seeds, lower)
    assert made.dtype == torch.float32
    off = (made - model.sample(labels, seeds, exact)).abs() * 127.5
    assert 0.01 < off.mean() < 1
    assert torch.equal(model.sample(labels[7:9], seeds[7:9], lower), made[7:9])


# ------------------------------------------------------------ class balancing


def test_class_balancing_by_hand() -> None:
    # (1 - 1/4) (|1 - 3|^2 + 1/4 |1 - 3|^2) = 3/4 * 5; each side is drawn with its own weight.
    v, other = torch.full((1, 1, 2, 2), 1.0, requires_grad=True), torch.full((1, 1, 2, 2), 3.0, requires_grad=True)
    term = class_balancing(v, other, torch.tensor([0.25]))
    torch.testing.assert_close(term, torch.tensor([3.75]))
    term.sum().backward()
    assert v.grad is not None
    assert other.grad is not None
    assert v.grad.sum().item() == pytest.approx(0.75 * 2 * (1 - 3))
    assert other.grad.sum().item() == pytest.approx(0.75 * 0.25 * 2 * (3 - 1))


def test_without_noise_left_classes_are_not_drawn_together() -> None:
    v, other = torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)
    assert class_balancing(v, other, torch.tensor([1.0])).item() == 0.0


@pytest.mark.parametrize("dropout", [0.0, 0.999999])
def test_class_balancing_counts_where_the_label_is_told(dropout: float) -> None:
    values = []
    for weight in (0.0, 10.0):
        model = flow(class_balance=weight, label_dropout=dropout)
        torch.nn.init.normal_(model.network.exit[-1].weight)  # fresh, the field is nearly the same for all classes
        torch.manual_seed(1)
        values.append(model.loss("flow", batch(), 0.5).item())
    assert (values[0] == values[1]) == (dropout > 0)


# ------------------------------------------------------------ parts of the network


def test_squared_error_is_a_mean_over_an_image() -> None:
    a, b = torch.zeros(2, 1, 2, 2), torch.stack([torch.full((1, 2, 2), 2.0), torch.tensor([[[4.0, 0], [0, 0]]])])
    assert squared_error(a, b).tolist() == [4.0, 4.0]


def test_time_features_by_hand() -> None:
    values = time_features(torch.tensor([0.0, 0.5]), 4)
    expected = [[0, 0, 1, 1], [math.sin(0.5), math.sin(500), math.cos(0.5), math.cos(500)]]
    torch.testing.assert_close(values, torch.tensor(expected), atol=1e-4, rtol=0)


def test_fine_detail_takes_the_short_way() -> None:
    torch.manual_seed(0)
    network, told = UNet(1, [(8, 8), (4, 4)], 4, 8, dropout=0.0).eval(), torch.zeros(1, 8)
    torch.nn.init.normal_(network.exit[-1].weight)
    for parameter in network.grow.parameters():  # nothing comes up from below
        torch.nn.init.zeros_(parameter)
    one, other = (network(torch.full((1, 1, 8, 8), value), told) for value in (0.0, 1.0))
    assert not torch.equal(one, other)


def test_dropout_hides_features_in_training_only() -> None:
    images, t = batch(2), torch.tensor([0.5, 0.5])
    model = flow(dropout=0.5)
    torch.nn.init.normal_(model.network.exit[-1].weight)
    for block in (model.network.down[0], model.network.up[0]):
        torch.nn.init.normal_(block.second.weight)
    for training in (True, False):
        model.train(training)
        one, other = (model.velocity(images.images, t, images.labels, torch.zeros(2)) for _ in range(2))
        assert torch.equal(one, other) != training


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("share", "kept"), [(0.1, 230), (0.0, 256), (0.999, 1)])
def test_dropout_keeps_its_share_of_the_features_and_their_mean(
    share: float, kept: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.ones(40, 9, 17, 33, dtype=dtype).to(memory_format=layout).requires_grad_()
    hidden = Dropout(share)(x)
    assert hidden.is_contiguous(memory_format=layout)
    assert set(hidden.unique().tolist()) <= {0.0, torch.tensor(256 / kept, dtype=dtype).item()}
    shares = (hidden != 0).double().mean(dim=(0, 2, 3))  # of 22,440 features of each channel
    assert shares.tolist() == pytest.approx([kept / 256] * 9, abs=0.01)
    hidden.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, hidden)  # what is hidden gets no gradient


def test_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    layer, x = Attention(8), torch.randn(2, 8, 3, 4)
    torch.nn.init.normal_(layer.out.weight)
    parts = layer.queries_keys_values(layer.norm(x)).flatten(2).transpose(1, 2).chunk(3, dim=2)
    theirs = F.scaled_dot_product_attention(*parts).transpose(1, 2).unflatten(2, (3, 4))
    torch.testing.assert_close(layer(x), x + layer.out(theirs))
