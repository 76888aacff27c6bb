from typing import Any

import numpy as np
import pytest

from pipeline.transforms import policy
from tests.builders import picture
from tests.tiny import merged

OFF: dict[str, Any] = {
    "rotation_degrees": 0.0,
    "horizontal_flip": 0.0,
    "vertical_flip": 0.0,
    "crop": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "saturation": 0.0,
    "hue": 0.0,
    "border": "black",
}
COLOUR = picture(2, 5, 16, 16)
GREY = COLOUR[..., 0].copy()


def changed(pixels: np.ndarray, seed: int = 0, **changes: Any) -> np.ndarray:
    chosen = policy.Policy(**merged(OFF, changes))
    return policy.apply(policy.build(chosen, *pixels.shape[:2]), pixels, seed)


@pytest.mark.parametrize("pixels", [COLOUR, GREY], ids=["colour", "grey"])
def test_nothing_asked_for_changes_nothing(pixels: np.ndarray) -> None:
    np.testing.assert_array_equal(changed(pixels), pixels)


@pytest.mark.parametrize("pixels", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize(
    "change",
    [
        {"rotation_degrees": 30.0},
        {"horizontal_flip": 1.0},
        {"vertical_flip": 1.0},
        {"crop": 0.5},
        {"brightness": 0.5},
        {"contrast": 0.5},
    ],
    ids=str,
)
def test_each_change_changes_pixels_and_keeps_the_shape(pixels: np.ndarray, change: dict[str, float]) -> None:
    for seed in range(5):
        out = changed(pixels, seed, **change)
        assert out.shape == pixels.shape
        assert out.dtype == np.uint8
        assert not np.array_equal(out, pixels)


@pytest.mark.parametrize("change", [{"saturation": 0.9}, {"hue": 0.3}], ids=str)
def test_changes_of_colour_leave_grey_alone(change: dict[str, float]) -> None:
    assert not np.array_equal(changed(COLOUR, 1, **change), COLOUR)
    np.testing.assert_array_equal(changed(GREY, 1, **change), GREY)


def test_flips_are_mirror_images() -> None:
    np.testing.assert_array_equal(changed(COLOUR, horizontal_flip=1.0), COLOUR[:, ::-1])
    np.testing.assert_array_equal(changed(COLOUR, vertical_flip=1.0), COLOUR[::-1])


def test_brightness_scales_within_its_range() -> None:
    flat = np.full((8, 8, 3), 100, np.uint8)
    values = [int(changed(flat, seed, brightness=0.2)[0, 0, 0]) for seed in range(60)]
    assert 80 <= min(values) < 88
    assert 112 < max(values) <= 120


def test_rotation_shows_the_border() -> None:
    white = np.full((16, 16), 255, np.uint8)
    assert changed(white, rotation_degrees=45.0)[0, 0] == 0
    for border in ("edge", "reflect"):
        assert changed(white, rotation_degrees=45.0, border=border).min() == 255


def test_the_seed_decides_whatever_came_before() -> None:
    settings = policy.Policy(**merged(OFF, {"rotation_degrees": 20.0, "crop": 0.3, "brightness": 0.3, "hue": 0.2}))
    pipeline = policy.build(settings, 16, 16)
    first = [policy.apply(pipeline, COLOUR, seed) for seed in range(4)]
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    for seed in reversed(range(4)):
        np.testing.assert_array_equal(policy.apply(pipeline, COLOUR, seed), first[seed])
    assert len({image.tobytes() for image in first}) == 4
