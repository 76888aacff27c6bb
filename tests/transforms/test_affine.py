from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.transforms.affine import Affine, augment
from tests.tiny import merged

OFF: dict[str, Any] = {
    "rotation_degrees": 0.0,
    "shift": 0.0,
    "scale": 0.0,
    "shear": 0.0,
    "horizontal_flip": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "border": "edge",
}
SIDE = 32
NOISE = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
X = (torch.arange(SIDE) - (SIDE - 1) / 2).expand(SIDE, SIDE)
"""Column of each pixel, 0 in the middle."""
RAMPS = (torch.stack([X, X.T]) / 40).expand(200, 2, SIDE, SIDE)
"""Channel 0 grows along x, channel 1 along y: after a change their values say where each pixel came from."""


def changed(images: Tensor, seed: int = 0, **changes: Any) -> Tensor:
    return augment(images, Affine(**merged(OFF, changes)), torch.Generator().manual_seed(seed))


def came_from(**changes: Any) -> tuple[Tensor, Tensor]:
    """Where the middle of each of 200 images came from, and the map's slopes there: pixels [200, 2], [200, 2, 2]."""
    moved = changed(RAMPS, **changes) * 40
    low, high = SIDE // 2 - 1, SIDE // 2
    four = moved[:, :, low : high + 1, low : high + 1]
    along_x = four[:, :, 0, 1] - four[:, :, 0, 0]
    along_y = four[:, :, 1, 0] - four[:, :, 0, 0]
    return four.mean(dim=(2, 3)), torch.stack([along_x, along_y], dim=2)


def assert_spans(values: Tensor, low: float, high: float) -> None:
    """Values stay within the range and nearly fill it."""
    slack = 0.05 * (high - low)
    assert low - 1e-3 <= values.min() <= low + slack
    assert high - slack <= values.max() <= high + 1e-3


@pytest.mark.parametrize("border", ["black", "edge", "reflect"])
def test_nothing_asked_for_changes_nothing(border: str) -> None:
    torch.testing.assert_close(changed(NOISE, border=border), NOISE, atol=1e-5, rtol=0)


def test_a_flip_is_a_mirror_image_and_twice_is_none() -> None:
    once = changed(NOISE, horizontal_flip=1.0)
    torch.testing.assert_close(once, NOISE.flip(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(changed(once, seed=5, horizontal_flip=1.0), NOISE, atol=1e-5, rtol=0)


def test_half_are_flipped() -> None:
    _, slopes = came_from(horizontal_flip=0.5)
    assert 80 <= (slopes[:, 0, 0] < 0).sum() <= 120


def test_shift_is_a_share_of_the_side() -> None:
    middle, slopes = came_from(shift=0.25)
    assert_spans(middle[:, 0], -8.0, 8.0)  # a quarter of 32 pixels
    assert_spans(middle[:, 1], -8.0, 8.0)
    torch.testing.assert_close(slopes, torch.eye(2).expand(200, 2, 2), atol=1e-3, rtol=0)


def test_scale_changes_each_axis_by_its_share() -> None:
    middle, slopes = came_from(scale=0.2)
    assert_spans(slopes[:, 0, 0], 0.8, 1.2)
    assert_spans(slopes[:, 1, 1], 0.8, 1.2)
    assert (slopes[:, 0, 0] - slopes[:, 1, 1]).abs().max() > 0.2
    assert middle.abs().max() < 1e-3


def test_rotation_turns_around_the_middle() -> None:
    middle, slopes = came_from(rotation_degrees=30)
    degrees = torch.rad2deg(torch.atan2(slopes[:, 1, 0], slopes[:, 0, 0]))
    assert_spans(degrees, -30.0, 30.0)
    torch.testing.assert_close(slopes.transpose(1, 2) @ slopes, torch.eye(2).expand(200, 2, 2), atol=1e-3, rtol=0)
    assert middle.abs().max() < 1e-3


def test_shear_slants_along_x() -> None:
    _, slopes = came_from(shear=0.3)
    assert_spans(slopes[:, 0, 1], -0.3, 0.3)
    assert slopes[:, 1, 0].abs().max() < 1e-3


def test_brightness_and_contrast() -> None:
    flat = torch.full((200, 1, 4, 4), 0.5)
    assert_spans(changed(flat, brightness=0.2)[:, 0, 0, 0], 0.3, 0.7)
    assert_spans(changed(flat, contrast=0.2)[:, 0, 0, 0], 0.4, 0.6)
    assert changed(torch.full((50, 1, 4, 4), 0.95), brightness=0.5).max() == 1.0


def test_what_lies_outside() -> None:
    white = torch.ones(20, 1, 8, 8)
    assert changed(white, shift=0.5, border="black").min() == -1.0
    for border in ("edge", "reflect"):
        torch.testing.assert_close(changed(white, shift=0.5, border=border), white, atol=1e-5, rtol=0)


def test_the_generator_s_seed_decides() -> None:
    ranges = {"rotation_degrees": 20, "shift": 0.1, "scale": 0.1, "shear": 0.1, "brightness": 0.1, "contrast": 0.1}
    first = changed(NOISE, seed=3, **ranges)
    torch.rand(7)  # the global state must not matter
    assert torch.equal(changed(NOISE, seed=3, **ranges), first)
    assert not torch.equal(changed(NOISE, seed=4, **ranges), first)
    assert len({image.numpy().tobytes() for image in changed(NOISE[:1].expand(6, 3, 12, 12), seed=3, **ranges)}) == 6
