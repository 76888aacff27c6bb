"""A generator that is told an attribute beside the class; each is tested, with its options of params.yaml."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import generators
from pipeline.generators import Generator
from pipeline.generators._classes import Classes
from pipeline.generators.flow import Flow, Params
from pipeline.training.batches import Batch
from pipeline.training.loop import train
from tests.generators.test_contract import KINDS, LABELS, NUM_CLASSES, OPTIONS, SEEDS, SHAPES, STEPS, drawn_as
from tests.tiny import Ints, bars, batch_of, schedule

NAMES = ("dark room", "lit room")
DARK, LIT = 1, 2
VALUES = np.random.default_rng(1).integers(0, 3, len(LABELS))
SHAPE = SHAPES[0]

every_kind = pytest.mark.parametrize("name", KINDS)


def make(name: str, names: tuple[str, ...] = NAMES, **options: object) -> Generator:
    return generators.create(name, OPTIONS[name] | {"width": 8} | options, SHAPE, NUM_CLASSES, 0, names)


def sample(generator: Generator, labels: Ints, seeds: Ints, values: Ints | None) -> torch.Tensor:
    return generator.eval().sample(labels, seeds, drawn_as(generator.name), values)


def lit(labels: Ints, values: Ints) -> Batch:
    """Bars of these labels, lit where the value says so."""
    images = np.where((values == LIT)[:, None, None, None], bars(labels, SHAPE) // 2 + 120, bars(labels, SHAPE) // 2)
    return batch_of(images.astype(np.uint8), labels)._replace(attributes=torch.from_numpy(values))


# ------------------------------------------------------------ the embedding


def test_without_values_it_is_an_embedding_of_classes_and_no_more() -> None:
    torch.manual_seed(0)
    plain, after = nn.Embedding(5, 16), torch.rand(1)
    torch.manual_seed(0)
    classes = Classes(5, 0, 16)
    assert torch.equal(torch.rand(1), after)
    assert classes.state_dict().keys() == plain.state_dict().keys()
    labels = torch.tensor([4, 0, 4])
    for told in (None, torch.tensor([0, 1, 2])):
        assert torch.equal(classes(labels, told), plain(labels))


def test_a_value_moves_all_classes_alike_and_none_given_moves_nothing() -> None:
    classes = Classes(5, 2, 16)
    labels = torch.arange(5)
    plain = classes(labels)
    assert torch.equal(classes(labels, torch.zeros(5, dtype=torch.int64)), plain)
    moved = classes(labels, torch.full((5,), 2)) - plain
    torch.testing.assert_close(moved, moved[:1].expand(5, -1))
    assert moved.std() > 0.5  # as much as the classes differ


# ------------------------------------------------------------ every generator


@every_kind
def test_the_attribute_adds_tables_of_its_own_and_nothing_else(name: str) -> None:
    plain, told = (make(name, names).state_dict() for names in ((), NAMES))
    added = told.keys() - plain.keys()
    assert plain.keys() <= told.keys()
    assert added
    assert all(key.endswith("classes.attributes.weight") and len(told[key]) == 1 + len(NAMES) for key in added)
    assert all(told[key].shape == value.shape for key, value in plain.items())
    assert make(name).attributes == NAMES


@every_kind
@pytest.mark.parametrize("spectral_norm", [False, True])
def test_each_player_has_finite_gradients_for_all_its_parameters(name: str, spectral_norm: bool) -> None:
    options = {"spectral_norm": spectral_norm} if "spectral_norm" in OPTIONS[name] else {}
    generator = make(name, **options).train()
    batch = lit(LABELS[:16], VALUES[:16])._replace(domains=torch.arange(16) % 2)
    for player, parameters in generator.players().items():
        generator.zero_grad(set_to_none=True)
        generator.loss(player, batch, 0.5).backward()
        for parameter in parameters:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.abs().sum() > 0


@every_kind
def test_a_generator_that_is_told_none_does_not_look_at_values(name: str) -> None:
    generator = make(name, ())
    plain = sample(generator, LABELS[:6], SEEDS[:6], None)
    assert torch.equal(sample(generator, LABELS[:6], SEEDS[:6], VALUES[:6]), plain)
    batch = lit(LABELS[:6], VALUES[:6])
    for player in generator.players():
        losses = []
        for one in (batch, batch._replace(attributes=None)):
            torch.manual_seed(0)
            losses.append(generator.loss(player, one, 0.5).item())
        assert losses[0] == losses[1]


@every_kind
def test_it_learns_values_across_classes_and_makes_what_no_image_shows(name: str) -> None:
    """Class 2 has dark images only; lit it is made all the same."""
    generator, labels = make(name), np.arange(24) % NUM_CLASSES
    values = np.where(labels == 2, DARK, 1 + np.arange(24) // NUM_CLASSES % 2)
    batch = lit(labels, values)
    steps = schedule(steps=STEPS[len(generator.players())], lr=0.005)
    train(generator, lambda _: batch, steps, seed=0, label="test", show=False)
    seeds = SEEDS[:20]
    for label in range(NUM_CLASSES):
        wanted = np.full(20, label)
        dark, light = (sample(generator, wanted, seeds, np.full(20, value)).mean().item() for value in (DARK, LIT))
        assert light > dark + 0.3, label

    whole = sample(generator, LABELS, SEEDS, VALUES)
    parts = [sample(generator, LABELS[a:b], SEEDS[a:b], VALUES[a:b]) for a, b in ((0, 1), (1, 8), (8, len(LABELS)))]
    assert torch.equal(torch.cat(parts), whole)  # each from its own label, seed and value
    none = sample(generator, LABELS, SEEDS, np.zeros_like(LABELS))
    assert torch.equal(sample(generator, LABELS, SEEDS, None), none)
    changed = (whole != none).flatten(1).any(dim=1).numpy()
    assert changed.tolist() == (VALUES > 0).tolist()


# ------------------------------------------------------------ guidance


def test_the_flow_drops_the_value_with_the_label(monkeypatch: pytest.MonkeyPatch) -> None:
    model, told = Flow(Params(**OPTIONS["flow"] | {"width": 8, "label_dropout": 0.5}), SHAPE, NUM_CLASSES, 2), []

    def record(
        x: torch.Tensor, _t: torch.Tensor, labels: torch.Tensor, _: torch.Tensor, values: torch.Tensor
    ) -> object:
        told.append((labels, values))
        return torch.zeros_like(x)

    monkeypatch.setattr(model, "velocity", record)
    batch = lit(LABELS, 1 + VALUES % 2)
    model.loss("flow", batch, 0.5)
    labels, values = told.pop()
    hidden = labels == NUM_CLASSES
    assert 0 < hidden.sum() < len(labels)
    assert torch.equal(values, torch.where(hidden, 0, batch.attributes))

    model.sample(LABELS[:3], SEEDS[:3], drawn_as("flow", guidance=2.0), np.array([1, 2, 0]))
    labels, values = (part.view(2, -1)[:, :3].tolist() for part in told[0])
    assert labels == [LABELS[:3].tolist(), [NUM_CLASSES] * 3]
    assert values == [[1, 2, 0], [0, 0, 0]]
