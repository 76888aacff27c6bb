"""The nearest image, by hand and against all pairs."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pipeline.gate._nearest import BLOCK, Pictures, distances, nearest, pictures
from tests.tiny import Ints

Images = np.ndarray


def of(images: Images, features: list[list[float]] | None = None) -> Pictures:
    deep = (
        torch.ones(1, len(images), 1)
        if features is None
        else F.normalize(torch.tensor([features], dtype=torch.float32), dim=2)
    )
    return pictures(images, deep, np.zeros(len(images), np.int64))


def textures(count: int, side: int, channels: int = 1, seed: int = 0) -> Images:
    """Smooth random pictures, as photographs are, uint8 [N, C, side, side]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.normal(size=(count, channels, 6, 6)))
    smooth = F.interpolate(coarse, size=side, mode="bicubic", align_corners=True).numpy()
    return np.clip(128 + 60 * smooth, 0, 255).astype(np.uint8)


def tiny(*pixels: tuple[int, int]) -> Images:
    return np.array(pixels, dtype=np.uint8).reshape(-1, 1, 1, 2)


def test_distances_are_root_mean_squares_of_pixels_and_cosines_of_features() -> None:
    bank = of(tiny((100, 0), (80, 60), (0, 90)), [[1, 0], [0, 1], [1, 1]])
    found = nearest(of(tiny((90, 50), (0, 80)), [[1, 0], [1, 0]]), bank)
    assert found.row.tolist() == [1, 2]
    assert found.pixel == pytest.approx([10, 10 / np.sqrt(2)])
    assert found.feature == pytest.approx([1, 1 - np.sqrt(0.5)], abs=1e-6)
    assert not found.moved.any()


def test_of_several_classifiers_the_cosine_is_the_mean() -> None:
    deep = torch.tensor([[[1.0, 0], [1, 0]], [[1, 0], [0, 1]]])  # the same to one, at right angles to the other
    two = pictures(tiny((1, 2), (3, 4)), deep, np.zeros(2, np.int64))
    assert nearest(two.take(np.array([0])), two.take(np.array([1]))).feature == pytest.approx([0.5])
    assert distances(two)[1] == pytest.approx(np.array([[0, 0.5], [0.5, 0]]), abs=1e-6)


def test_an_image_is_not_its_own_neighbour() -> None:
    bank = of(tiny((0, 0), (0, 10), (0, 30)))
    found = nearest(bank, bank, excluded=np.arange(3))
    assert found.row.tolist() == [1, 0, 1]
    assert found.pixel == pytest.approx(np.array([10, 10, 20]) / np.sqrt(2))


@pytest.mark.parametrize("count", [0, 1])
def test_without_any_other_image_all_is_far(count: int) -> None:
    bank = of(tiny((0, 0)))
    found = nearest(bank, bank.take(np.arange(count)), excluded=np.arange(1) if count else None)
    assert (found.row.tolist(), found.pixel.tolist(), found.feature.tolist()) == ([-1], [np.inf], [np.inf])
    assert not found.within(1e9, 1e9).any()
    assert len(nearest(bank.take(np.arange(0)), bank).row) == 0


def moved(images: Images, down: int, right: int) -> Images:
    return np.roll(images, (down, right), axis=(2, 3))


@pytest.mark.parametrize("side", [8, 16, 32])
@pytest.mark.parametrize("how", ["down", "diagonal", "mirrored", "mirrored and moved"])
def test_a_moved_or_mirrored_copy_is_found(side: int, how: str) -> None:
    bank = textures(300, side)
    copies = {
        "down": moved(bank, 1, 0),
        "diagonal": moved(bank, -1, 1),
        "mirrored": bank[..., ::-1].copy(),
        "mirrored and moved": moved(bank[..., ::-1], 0, -1),
    }[how]
    found = nearest(of(copies[:50]), of(bank))
    np.testing.assert_array_equal(found.row, np.arange(50))
    assert found.pixel == pytest.approx(np.zeros(50))
    assert found.moved.all()


def test_images_of_less_than_eight_pixels_are_compared_as_they_are() -> None:
    bank = textures(20, 7)
    assert nearest(of(bank[..., ::-1].copy()), of(bank)).pixel.min() > 1
    assert nearest(of(bank), of(bank)).pixel.max() == 0


def test_larger_images_are_compared_at_32_pixels() -> None:
    bank = np.repeat(np.repeat(textures(40, 32, channels=3), 3, axis=2), 3, axis=3)
    prepared = of(bank)
    assert prepared.small.shape == (40, 3, 32, 32)
    np.testing.assert_array_equal(prepared.small.numpy(), bank[:, :, ::3, ::3])
    grainy = np.clip(bank.astype(int) + np.random.default_rng(0).integers(-2, 3, bank.shape), 0, 255).astype(np.uint8)
    found = nearest(of(grainy), prepared)
    np.testing.assert_array_equal(found.row, np.arange(40))
    assert 0 < found.pixel.max() < 1.5


def exact(queries: Images, bank: Images) -> tuple[Ints, np.ndarray]:
    """Distances to all by plain loops over the 18 moves, without the border."""
    inner = bank[:, :, 1:-1, 1:-1].reshape(len(bank), -1).astype(float)
    best = np.full((len(queries), len(bank)), np.inf)
    for turned in (queries, queries[..., ::-1]):
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                cut = moved(turned, down, right)[:, :, 1:-1, 1:-1].reshape(len(queries), -1).astype(float)
                best = np.minimum(best, np.sqrt(((cut[:, None] - inner[None]) ** 2).mean(2)))
    return best.argmin(1), best.min(1)


@pytest.mark.parametrize("side", [8, 32])
def test_the_shortlist_holds_what_a_search_through_all_finds(side: int) -> None:
    bank, queries = textures(200, side, seed=1), textures(BLOCK + 20, side, seed=2)
    row, distance = exact(queries, bank)
    found = nearest(of(queries), of(bank))
    assert (found.row == row).mean() >= 0.95
    assert found.pixel == pytest.approx(distance, rel=0.1)
    assert np.mean(found.pixel / distance) == pytest.approx(1, abs=0.005)


def test_all_pairs_of_one_batch_by_the_same_measure() -> None:
    images = np.concatenate([textures(30, 16), moved(textures(1, 16), 1, 0)])
    pixel, feature, is_moved = distances(of(images))
    assert pixel == pytest.approx(
        np.array([exact(images[j : j + 1], images[i : i + 1])[1][0] for i in range(31) for j in range(31)]).reshape(
            31, 31
        ),
        abs=0.3,
    )
    assert (pixel[0, 30], bool(is_moved[0, 30])) == (pytest.approx(0, abs=0.3), True)
    assert not is_moved.diagonal().any()
    assert feature == pytest.approx(np.zeros((31, 31)), abs=1e-6)


def test_a_moved_image_is_not_compared_in_features() -> None:
    bank = textures(20, 8)
    away = of(moved(bank, 0, 1), [[0.0, 1.0]] * 20)
    found = nearest(away, of(bank, [[1.0, 0.0]] * 20))
    assert found.feature == pytest.approx(np.ones(20))
    assert found.within(1.0, 0.5).all()
    still = nearest(of(bank, [[0.0, 1.0]] * 20), of(bank, [[1.0, 0.0]] * 20))
    assert not still.within(1.0, 0.5).any()
    assert still.within(1.0, 1.0).all()


def test_joined_pictures_are_those_of_both() -> None:
    images = textures(9, 8)
    whole, parts = of(images), of(images[:4]).joined(of(images[4:]))
    for name in ("small", "thumbnails", "deep"):
        assert torch.equal(getattr(parts, name), getattr(whole, name))
    assert len(parts) == 9
