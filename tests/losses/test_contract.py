"""What every loss must do."""

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pipeline import losses, params, registry
from pipeline.errors import UserError
from pipeline.losses import Facts
from pipeline.stages.train_classifier import Params
from tests.losses.examples import LABELS, LOGITS, made, value
from tests.tiny import ROOT, settings

KINDS = registry.names("pipeline.losses")
UNKNOWN = f"unknown loss 'focall'; did you mean 'focal'? Known: {', '.join(KINDS)}"
every_kind = pytest.mark.parametrize("name", KINDS)
every_moment = pytest.mark.parametrize("progress", [0.0, 0.9])


@every_moment
@every_kind
def test_a_finite_value_an_image_with_a_gradient(name: str, progress: float) -> None:
    logits = LOGITS.clone().requires_grad_()
    values = value(name, logits, progress=progress)
    assert values.shape == (4,)
    assert torch.isfinite(values).all()
    assert (values >= 0).all()
    values.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert (logits.grad[torch.arange(4), LABELS] < 0).all()  # a larger logit of the true class is better


@every_moment
@every_kind
def test_an_image_s_value_does_not_depend_on_the_others(name: str, progress: float) -> None:
    alone = value(name, LOGITS[1:2], LABELS[1:2], progress=progress)
    torch.testing.assert_close(value(name, progress=progress)[1:2], alone)


@every_moment
@every_kind
def test_a_class_without_an_image_breaks_nothing(name: str, progress: float) -> None:
    logits = LOGITS[:2].clone().requires_grad_()
    values = value(name, logits, LABELS[:2], torch.tensor([5.0, 5.0, 0.0]), smoothing=0.1, progress=progress)
    values.sum().backward()
    assert torch.isfinite(values).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@every_moment
@every_kind
def test_a_label_is_a_distribution_of_one_class(name: str, progress: float) -> None:
    one_hot = F.one_hot(LABELS, 3).float()
    for smoothing in (0.0, 0.2):
        whole = value(name, targets=one_hot, smoothing=smoothing, progress=progress)
        torch.testing.assert_close(whole, value(name, smoothing=smoothing, progress=progress))


@every_kind
def test_of_two_labels_each_draws_its_logit_up(name: str) -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    value(name, logits, torch.tensor([[0.5, 0.5, 0.0]]), torch.full((3,), 9.0)).sum().backward()
    assert logits.grad is not None
    first, second, third = logits.grad[0].tolist()
    assert first == pytest.approx(second)
    assert first < 0 < third


@pytest.mark.parametrize("name", [name for name in KINDS if name != "ldam_drw"])  # whose margin is of the label alone
def test_a_distribution_s_value_is_the_mean_over_its_labels(name: str) -> None:
    shares = torch.tensor([0.5, 0.3, 0.2])
    each = torch.stack([value(name, LOGITS[:1], torch.tensor([label]))[0] for label in range(3)])
    torch.testing.assert_close(value(name, LOGITS[:1], shares[None])[0], (shares * each).sum())
    smooth = 0.9 * each[0] + 0.1 * each.mean()
    torch.testing.assert_close(value(name, LOGITS[:1], LABELS[:1], smoothing=0.1)[0], smooth)


@every_kind
def test_smoothing_makes_a_certain_answer_dearer(name: str) -> None:
    sure = torch.tensor([[20.0, 0.0, 0.0]])
    assert value(name, sure, LABELS[:1], smoothing=0.2) > value(name, sure, LABELS[:1]) + 0.01


@every_kind
def test_a_network_learns_by_it_and_decides_as_it_did_in_training(name: str) -> None:
    """Three clusters of 30, 10 and 2 images, and a fourth class of which there is none."""
    sizes = [30, 10, 2, 0]
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    rng = torch.Generator().manual_seed(0)
    images = 2 * F.one_hot(labels, 6).float() + 0.3 * torch.randn(42, 6, generator=rng)
    torch.manual_seed(0)
    trunk, head, loss = nn.Sequential(nn.Linear(6, 8), nn.ReLU()), nn.Linear(8, 4), made(name, Facts(8, 4))
    loss.start(head)
    parameters = list(itertools.chain(trunk.parameters(), head.parameters(), loss.parameters()))
    optimiser = torch.optim.Adam(parameters, lr=0.02)
    history, counts = [], torch.tensor(sizes).float()
    for step in range(60):
        features = trunk(images)
        values = loss(loss.logits(features, head), labels, counts, step / 60)
        if loss.views:
            seen = [trunk(images + 0.1 * torch.randn(images.shape, generator=rng)) for _ in range(loss.views)]
            values = values + loss.of_views(torch.stack(seen, dim=1), head, labels, counts)
        assert values.shape == (42,)
        history.append(values.mean().item())
        optimiser.zero_grad()
        values.mean().backward()
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in parameters)
        optimiser.step()
    assert history[40] < 0.6 * history[0]
    with torch.no_grad():
        features = trunk(images)
        decided = loss.eval().logits(features, head).argmax(dim=1)
        loss.finish(head)
        assert torch.equal(head(features).argmax(dim=1), decided)
    assert torch.equal(decided, labels)


@every_kind
def test_equal_seeds_give_equal_parameters_and_the_global_rng_is_left_alone(name: str) -> None:
    before = torch.get_rng_state()
    one, same = (losses.create(name, {}, Facts(8, 3), seed=5).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(one[key], same[key]) for key in one)


# ------------------------------------------------------------ params.yaml


@every_kind
def test_params_yaml_shows_every_option_with_its_default(name: str) -> None:
    kind = registry.get("pipeline.losses", name).Params
    shown = settings(Params, "train_classifier").losses.get(name, {})
    assert set(shown) == set(kind.__dataclass_fields__)
    assert params.build(kind, shown, "x") == params.build(kind, {}, "x")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"loss": "focall"}, f"train_classifier.loss: {UNKNOWN}"),
        ({"losses": {"focall": {}}}, f"params.yaml: train_classifier.losses.focall: {UNKNOWN}"),
        (
            {"recipe": {"label_smoothing": {"focall": 0.1}}},
            f"train_classifier.recipe.label_smoothing.focall: {UNKNOWN}",
        ),
        (
            {"losses": {"focal": {"gamma": -1.0}}},
            "params.yaml: train_classifier.losses.focal.gamma should be greater than or equal to 0, got -1.0",
        ),
        (
            {"losses": {"ldam_drw": {"differ": 0.5}}},
            "params.yaml: train_classifier.losses.ldam_drw.differ: unknown key; did you mean 'defer'?",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        settings(Params, "train_classifier", **changes)
    assert str(caught.value) == told


def test_losses_may_go_without_options() -> None:
    content = params.read(ROOT / "params.yaml")["train_classifier"]
    del content["losses"]
    assert params.build(Params, content, "x").losses == {}
