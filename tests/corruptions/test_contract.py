"""What every corruption owes, whatever the folder holds; and the strengths by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline import corruptions, registry
from pipeline.corruptions import corrupted, strength
from pipeline.errors import UserError

every = pytest.mark.parametrize("name", registry.names("pipeline.corruptions"))


def pictures(channels: int, side: int = 40) -> npt.NDArray[np.uint8]:
    """uint8 [6, C, side, side]: soft colours with an edge."""
    rng = np.random.default_rng(channels)
    soft = np.linspace(40, 160, side)[None, None, None] + rng.uniform(0, 40, (6, channels, side, 1))
    soft[:, :, : side // 3] /= 2
    return np.rint(soft).astype(np.uint8)


@every
@pytest.mark.parametrize("channels", [1, 3])
def test_each_severity_is_worse_than_the_one_before(name: str, channels: int) -> None:
    images = pictures(channels)
    before = images.copy()
    worse = [corrupted(images, name, severity, seed=0) for severity in corruptions.SEVERITIES]
    assert (images == before).all()
    assert all(made.shape == images.shape and made.dtype == np.uint8 for made in worse)
    errors = [float(np.mean((made.astype(float) - images) ** 2)) for made in worse]
    assert errors[0] > 0
    assert errors == sorted(errors)
    assert errors[0] < errors[4] / 1.2


@every
def test_an_image_depends_on_itself_its_number_and_the_seed_alone(name: str) -> None:
    images = pictures(3)
    made = corrupted(images, name, 3, seed=7)
    assert (corrupted(images, name, 3, seed=7) == made).all()
    assert (corrupted(images[:2], name, 3, seed=7) == made[:2]).all()


@every
def test_images_of_eight_pixels_and_of_one_colour_are_no_trouble(name: str) -> None:
    for channels in (1, 3):
        for value in (0, 255):
            made = corrupted(np.full((1, channels, 8, 8), value, np.uint8), name, 5, seed=0)
            assert made.shape == (1, channels, 8, 8)


def test_noise_changes_with_the_seed_and_the_image() -> None:
    flat = np.full((2, 1, 40, 40), 128, np.uint8)
    made = corrupted(flat, "gaussian_noise", 3, seed=0)
    assert (made[0] != made[1]).any()
    assert (corrupted(flat, "gaussian_noise", 3, seed=1) != made).any()


def test_strengths_are_the_papers_at_its_two_sizes_and_between_them_by_the_logarithm() -> None:
    small, large = (1.0, 2.0), (3.0, 8.0)
    assert [strength(small, large, 2, side) for side in (8, 32, 224, 500)] == [2, 2, 8, 8]
    assert strength(small, large, 1, round(np.sqrt(32 * 224))) == pytest.approx(2.0, abs=0.01)


def test_noise_brightness_and_contrast_by_hand() -> None:
    flat = np.full((40, 1, 32, 32), 128, np.uint8)
    assert corrupted(flat, "gaussian_noise", 5, seed=0).std() == pytest.approx(255 * 0.10, rel=0.02)
    assert np.unique(corrupted(flat, "brightness", 1, seed=0)).tolist() == [round(128 + 255 * 0.05)]
    coloured = np.tile(np.array([100, 50, 200], np.uint8)[None, :, None, None], (1, 1, 32, 32))
    brighter = corrupted(coloured, "brightness", 2, seed=0)[0, :, 0, 0]  # value 200 to 225.5, so each times 1.1275
    assert brighter.tolist() == pytest.approx([112.75, 56.375, 225.5], abs=1)
    halves = np.zeros((1, 1, 32, 32), np.uint8)
    halves[..., 16:] = 200
    assert np.unique(corrupted(halves, "contrast", 2, seed=0)).tolist() == [50, 150]


def test_an_unknown_corruption_is_one_line() -> None:
    with pytest.raises(UserError, match=r"unknown corruption 'blurr'; .*known: brightness, contrast, gaussian_blur"):
        corrupted(pictures(1), "blurr", 1, seed=0)
