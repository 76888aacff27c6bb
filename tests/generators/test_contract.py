"""What every generator must do; a new file in the folder is tested unasked, with its options from params.yaml."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline import generators, params, registry
from pipeline.errors import UserError
from pipeline.generators import Generator
from pipeline.training.batches import Batch, to_uint8
from pipeline.training.loop import Point, train
from tests.tiny import ROOT, Ints, bars, batch_of, schedule

OPTIONS: dict[str, dict[str, Any]] = params.read(ROOT / "params.yaml")["train_generator"]["generators"]
KINDS = registry.names("pipeline.generators")
SHAPES = [(1, 8, 8), (3, 12, 12)]
NUM_CLASSES = 3
LABELS = np.arange(200) % NUM_CLASSES
SEEDS = np.random.default_rng(0).integers(0, 2**31, 200)

every_kind = pytest.mark.parametrize("name", KINDS)
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)


def make(name: str, shape: tuple[int, int, int], seed: int = 0) -> Generator:
    assert name in OPTIONS, f"params.yaml: train_generator.generators has no options for {name}"
    return generators.create(name, OPTIONS[name], shape, NUM_CLASSES, seed)


def pictures(generator: Generator, labels: Ints, seeds: Ints) -> np.ndarray:
    return to_uint8(generator.eval().sample(labels, seeds))


def trained(name: str, shape: tuple[int, int, int], steps: int = 60) -> tuple[Generator, Sequence[Point]]:
    labels = np.arange(24) % NUM_CLASSES
    batch = batch_of(bars(labels, shape), labels)
    generator, points = train(make(name, shape), lambda _: batch, schedule(steps=steps), seed=0, label=name, show=False)
    assert isinstance(generator, Generator)
    generator.remember(batch.images[batch.labels == 0], 0)  # what is remembered of one class and not of the others
    return generator, points


@every_kind
@every_shape
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
def test_players_share_no_parameter_and_leave_none_out(name: str) -> None:
    generator = make(name, SHAPES[0])
    moved = [id(parameter) for parameters in generator.players().values() for parameter in parameters]
    assert sorted(moved) == sorted(id(parameter) for parameter in generator.parameters())


@every_kind
@every_shape
def test_it_learns_in_the_common_loop(name: str, shape: tuple[int, int, int]) -> None:
    generator, points = trained(name, shape)
    if len(generator.players()) == 1:  # what several players lose against each other need not fall
        losses = [point.loss for point in points]
        assert np.mean(losses[-10:]) < np.mean(losses[:10])
    means = np.stack([bars(LABELS, shape, seed=1)[label == LABELS].mean(axis=0) for label in range(NUM_CLASSES)])

    def error(model: Generator) -> float:
        return float(np.abs(pictures(model, LABELS, SEEDS) - means[LABELS]).mean())

    assert error(generator) < error(make(name, shape))


@every_kind
@every_shape
def test_samples_have_the_right_shape_and_range(name: str, shape: tuple[int, int, int]) -> None:
    generator = make(name, shape).eval()
    for number in (200, 1, 0):
        images = generator.sample(LABELS[:number], SEEDS[:number])
        assert images.shape == (number, *shape)
        assert images.dtype == torch.float32
        assert torch.isfinite(images).all()
        assert not images.requires_grad
        assert number == 0 or (images.min() >= -1 and images.max() <= 1)


@every_kind
@every_shape
def test_an_image_depends_on_its_own_label_and_seed_only(name: str, shape: tuple[int, int, int]) -> None:
    generator, _ = trained(name, shape, steps=20)
    whole = pictures(generator, LABELS, SEEDS)
    for size in (1, 7, 64):
        starts = range(0, len(LABELS), size)
        parts = [pictures(generator, LABELS[i : i + size], SEEDS[i : i + size]) for i in starts]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.random.default_rng(1).permutation(len(LABELS))
    np.testing.assert_array_equal(pictures(generator, LABELS[order], SEEDS[order]), whole[order])


@every_kind
def test_both_the_label_and_the_seed_matter(name: str) -> None:
    generator, _ = trained(name, SHAPES[0])
    one = pictures(generator, LABELS[:9], SEEDS[:9])
    assert (one != pictures(generator, (LABELS[:9] + 1) % NUM_CLASSES, SEEDS[:9])).reshape(9, -1).any(axis=1).all()
    assert (one != pictures(generator, LABELS[:9], SEEDS[9:18])).reshape(9, -1).any(axis=1).all()


@every_kind
def test_saved_and_loaded_it_makes_the_same_images(tmp_path: Path, name: str) -> None:
    generator, _ = trained(name, SHAPES[1], steps=5)
    save_file({key: value.contiguous() for key, value in generator.state_dict().items()}, tmp_path / "weights")
    again = make(name, SHAPES[1], seed=7)
    again.load_state_dict(load_file(tmp_path / "weights"))
    np.testing.assert_array_equal(pictures(again, LABELS, SEEDS), pictures(generator, LABELS, SEEDS))


@every_kind
def test_equal_seeds_give_equal_weights_and_leave_the_global_rng_alone(name: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (list(make(name, SHAPES[0], seed).parameters()) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_unknown_name_is_one_clear_line() -> None:
    with pytest.raises(UserError) as caught:
        generators.create("vea", {}, SHAPES[0], NUM_CLASSES, 0)
    assert str(caught.value) == f"unknown generator 'vea'; did you mean 'vae'?; known: {', '.join(KINDS)}"


@every_kind
def test_wrong_options_are_a_clear_line_each(name: str) -> None:
    with pytest.raises(UserError) as caught:
        generators.create(name, OPTIONS[name] | {"colour": 1}, SHAPES[0], NUM_CLASSES, 0)
    assert str(caught.value) == f"params.yaml: train_generator.generators.{name}.colour: unknown key"
