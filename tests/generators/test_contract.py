"""What every generator must do; a new file in the folder is tested unasked, with its options from params.yaml."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline import generators, params, registry
from pipeline.errors import UserError
from pipeline.generators import Generator
from pipeline.training.loop import Point, train
from tests.tiny import ROOT, Ints, bars, batch_of, schedule

SECTIONS: dict[str, Any] = params.read(ROOT / "params.yaml")
OPTIONS: dict[str, dict[str, Any]] = SECTIONS["train_generator"]["generators"]
SAMPLING: dict[str, dict[str, Any]] = SECTIONS["synthesize"]["sampling"]
KINDS = registry.names("pipeline.generators")
SHAPES = [(1, 8, 8), (3, 12, 12)]
MORE_SHAPES = [*SHAPES, (1, 9, 9), (3, 32, 32), (3, 50, 50)]
NUM_CLASSES = 3
LABELS = np.arange(70) % NUM_CLASSES
SEEDS = np.random.default_rng(0).integers(0, 2**31, len(LABELS))
STEPS = {1: 60, 2: 100}  # a generator with two players learns more slowly

every_kind = pytest.mark.parametrize("name", KINDS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make(name: str, shape: tuple[int, int, int], seed: int = 0, num_classes: int = NUM_CLASSES) -> Generator:
    """As params.yaml says, but with narrow networks."""
    assert name in OPTIONS, f"params.yaml: train_generator.generators has no options for {name}"
    narrow = {"width": 8} if "width" in OPTIONS[name] else {}
    return generators.create(name, OPTIONS[name] | narrow, shape, num_classes, seed)


def drawn_as(name: str, **changes: Any) -> Any:
    """As params.yaml says, but by few steps."""
    assert name in SAMPLING, f"params.yaml: synthesize.sampling has no options for {name}"
    quick = {"steps": 2} if "steps" in SAMPLING[name] else {}
    return generators.sampling(name, {name: SAMPLING[name] | quick | changes})


def sample(generator: Generator, labels: Ints, seeds: Ints) -> torch.Tensor:
    return generator.eval().sample(labels, seeds, drawn_as(generator.name))


def fit(generator: Generator, labels: Ints, shape: tuple[int, int, int], steps: int) -> Sequence[Point]:
    """Trains on bars of these labels in the common loop; the weights that are used are the last ones."""
    batch = batch_of(bars(labels, shape), labels)
    return train(generator, lambda _: batch, schedule(steps=steps), seed=0, label="test", show=False)[1]


@cache
def trained(name: str, shape: tuple[int, int, int]) -> tuple[Generator, Sequence[Point]]:
    generator, labels = make(name, shape), np.arange(24) % NUM_CLASSES
    points = fit(generator, labels, shape, STEPS[len(generator.players())])
    images = batch_of(bars(labels, shape), labels).images
    generator.remember(images[labels == 0], 0)  # what is remembered of one class and not of the others
    return generator.eval(), points


@every_kind
@pytest.mark.parametrize("shape", MORE_SHAPES, ids=str)
def test_each_player_has_finite_gradients_for_all_its_parameters(name: str, shape: tuple[int, int, int]) -> None:
    generator = make(name, shape).train()
    batch = batch_of(bars(LABELS[:16], shape), LABELS[:16])
    domains = torch.arange(16) % 2
    for player, parameters in generator.players().items():
        generator.zero_grad(set_to_none=True)
        loss = generator.loss(player, batch._replace(domains=domains), 0.5)
        assert loss.shape == ()
        assert torch.isfinite(loss)
        loss.backward()
        assert parameters
        for parameter in parameters:
            assert parameter.grad is not None
            assert torch.isfinite(parameter.grad).all()
            assert parameter.grad.abs().sum() > 0


@every_kind
def test_products_in_bfloat16_change_the_losses_little(name: str) -> None:
    generator, one = make(name, SHAPES[1]).train(), batch_of(bars(LABELS[:16], SHAPES[1]), LABELS[:16])
    for player, parameters in generator.players().items():
        losses = []
        for enabled in (False, True):
            torch.manual_seed(0)
            with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                losses.append(generator.loss(player, one, 0.5))
        assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.05)
        generator.zero_grad(set_to_none=True)
        losses[1].backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)


@every_kind
def test_players_share_no_parameter_and_leave_none_out(name: str) -> None:
    generator = make(name, SHAPES[0])
    moved = [id(parameter) for parameters in generator.players().values() for parameter in parameters]
    assert sorted(moved) == sorted(id(parameter) for parameter in generator.parameters())


@every_kind
def test_an_optimiser_of_its_own_is_one_that_the_loop_can_make(name: str) -> None:
    generator = make(name, SHAPES[0])
    for player, parameters in generator.players().items():
        torch.optim.AdamW(parameters, **({"lr": 0.1, "weight_decay": 0.1} | generator.optimiser(player)))


@every_kind
@every_shape
def test_it_learns_in_the_common_loop(name: str, shape: tuple[int, int, int]) -> None:
    generator, points = trained(name, shape)
    if len(generator.players()) == 1:  # what several players lose against each other need not fall
        losses = [point.loss for point in points]
        assert np.mean(losses[-10:]) < np.mean(losses[:10])
    means = np.stack([bars(LABELS, shape, seed=1)[label == LABELS].mean(axis=0) for label in range(NUM_CLASSES)])
    expected = torch.from_numpy(means[LABELS]).float() / 127.5 - 1

    def error(model: Generator) -> float:
        return float((sample(model, LABELS, SEEDS) - expected).abs().mean())

    assert error(generator) < 0.75 * error(make(name, shape))


@every_kind
@pytest.mark.parametrize("shape", MORE_SHAPES, ids=str)
def test_samples_have_the_right_shape_and_range(name: str, shape: tuple[int, int, int]) -> None:
    generator = make(name, shape)
    for number in (3, 0):
        images = sample(generator, LABELS[:number], SEEDS[:number])
        assert images.shape == (number, *shape)
        assert images.dtype == torch.float32
        assert torch.isfinite(images).all()
        assert not images.requires_grad
        assert number == 0 or (images.min() >= -1 and images.max() <= 1)


@every_kind
@every_shape
def test_an_image_depends_on_its_own_label_and_seed_only(name: str, shape: tuple[int, int, int]) -> None:
    generator, _ = trained(name, shape)
    whole = sample(generator, LABELS, SEEDS)
    parts = [sample(generator, LABELS[a:b], SEEDS[a:b]) for a, b in ((0, 1), (1, 8), (8, len(LABELS)))]
    assert torch.equal(torch.cat(parts), whole)
    order = np.random.default_rng(1).permutation(len(LABELS))
    assert torch.equal(sample(generator, LABELS[order], SEEDS[order]), whole[torch.from_numpy(order)])


@every_kind
def test_the_label_the_seed_and_how_it_is_drawn_matter(name: str) -> None:
    generator, _ = trained(name, SHAPES[0])

    def differ(other: torch.Tensor) -> bool:
        return bool((one != other).flatten(1).any(dim=1).all())

    labels, seeds = LABELS[:9], SEEDS[:9]
    one = sample(generator, labels, seeds)
    assert differ(sample(generator, (labels + 1) % NUM_CLASSES, seeds))
    assert differ(sample(generator, labels, SEEDS[9:18]))
    assert not torch.equal(one, generator.sample(labels, seeds))  # params.yaml draws otherwise than what was learned


@every_kind
def test_saved_and_loaded_it_makes_the_same_images(tmp_path: Path, name: str) -> None:
    generator, _ = trained(name, SHAPES[1])
    save_file({key: value.contiguous() for key, value in generator.state_dict().items()}, tmp_path / "weights")
    again = make(name, SHAPES[1], seed=7)
    assert not torch.equal(sample(again, LABELS, SEEDS), sample(generator, LABELS, SEEDS))
    again.load_state_dict(load_file(tmp_path / "weights"))
    assert torch.equal(sample(again, LABELS, SEEDS), sample(generator, LABELS, SEEDS))


@every_kind
@pytest.mark.parametrize(
    "labels", [np.arange(4), np.array([0, 0, 0, 1])], ids=["more classes than the batch holds", "a class of one image"]
)
def test_few_images(name: str, labels: Ints) -> None:
    generator = make(name, SHAPES[0], num_classes=30)
    images = bars(labels % NUM_CLASSES)
    batch = batch_of(images, labels)
    train(generator, lambda _: batch, schedule(steps=3, batch_size=4), seed=0, label=name, show=False)
    images_of_all = sample(generator, np.arange(30), np.arange(30))
    assert torch.isfinite(images_of_all).all()


@every_kind
def test_equal_seeds_give_equal_weights_and_leave_the_global_rng_alone(name: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (list(make(name, SHAPES[0], seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


@every_kind
def test_large_images_need_no_more_weights_than_memory_has_room_for(name: str) -> None:
    for side in (8, 50, 100, 128):
        generator = generators.create(name, OPTIONS[name], (3, side, side), NUM_CLASSES, 0)
        assert sum(parameter.numel() for parameter in generator.parameters()) < 20e6


def test_an_unknown_name_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        generators.create("vea", {}, SHAPES[0], NUM_CLASSES, 0)
    assert str(caught.value) == f"unknown generator 'vea'; did you mean 'vae'? Known: {', '.join(KINDS)}"


@every_kind
def test_wrong_options_are_a_clear_line_each(name: str) -> None:
    with pytest.raises(UserError) as caught:
        generators.create(name, OPTIONS[name] | {"colour": 1}, SHAPES[0], NUM_CLASSES, 0)
    assert str(caught.value) == f"params.yaml: train_generator.generators.{name}.colour: unknown key"
    with pytest.raises(UserError) as caught:
        drawn_as(name, colour=1)
    assert str(caught.value) == f"params.yaml: synthesize.sampling.{name}.colour: unknown key"


@every_kind
@pytest.mark.parametrize("shape", [(1, 8, 7), (3, 4, 4)])
def test_images_that_are_too_small_are_one_clear_line(name: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UserError) as caught:
        make(name, shape)
    assert str(caught.value) == (
        f"the {name} makes images of at least 8 x 8 pixels, got {shape[2]} x {shape[1]}; "
        "set ingest.image_size in params.yaml"
    )
