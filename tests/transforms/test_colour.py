import math
from collections.abc import Callable

import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images import Pixels
from pipeline.transforms import colour
from pipeline.transforms.geometry import Floats
from tests.transforms.pictures import apart, noise, pixels, tensor

COLOUR = noise(16, 16, 3)
GREY = noise(16, 16)
factors = st.floats(0.3, 1.7)
quickly = settings(max_examples=60, deadline=None)


def one(value: float) -> Floats:
    return np.array([value])


def recoloured(image: Pixels, *matrices: Floats) -> Pixels:
    levels = colour.in_levels(colour.compose(*matrices), 1 if image.ndim == 2 else 3)
    return colour.recolour(image, levels[0])


def recoloured_as_batch(image: Pixels, *matrices: Floats) -> Pixels:
    total = colour.compose(*(torch.from_numpy(matrix) for matrix in matrices))
    return pixels(colour.recolour_batch(tensor(image), total))[0]


BACK_ENDS = pytest.mark.parametrize("apply", [recoloured, recoloured_as_batch], ids=["cv2", "torch"])
Apply = Callable[..., Pixels]


def pixel(*values: int) -> Pixels:
    return np.array([[values]], dtype=np.uint8)


@BACK_ENDS
def test_known_colours(apply: Apply) -> None:
    red = pixel(200, 100, 50)
    assert apply(red, colour.brightness(one(1.2))).tolist() == [[[240, 120, 60]]]
    assert apply(red, colour.brightness(one(2.0))).tolist() == [[[255, 200, 100]]]
    # about a mean of 0.4 (102 levels): 102 + 0.5 (x - 102)
    assert apply(red, colour.contrast(one(0.5), one(0.4))).tolist() == [[[151, 101, 76]]]
    # luma 0.299 x 200 + 0.587 x 100 + 0.114 x 50 = 124.2
    assert apply(red, colour.saturation(one(0.0))).tolist() == [[[124, 124, 124]]]
    assert apply(red, colour.saturation(one(0.5))).tolist() == [[[162, 112, 87]]]
    # a tenth of the green is added to red, and as much of the red taken away
    shares = [one(0.1), *[one(0.0)] * 5]
    assert apply(red, colour.channel_mix(shares)).tolist() == [[[190, 100, 50]]]


@BACK_ENDS
def test_grey_takes_brightness_and_contrast_alone(apply: Apply) -> None:
    flat = np.full((2, 2), 100, np.uint8)
    assert set(apply(flat, colour.brightness(one(0.8))).flat) == {80}
    assert set(apply(flat, colour.contrast(one(1.5), one(0.2))).flat) == {124}  # 51 + 1.5 (100 - 51) = 124.5, even
    shares = [one(0.1 * number) for number in range(6)]
    for matrix in (colour.saturation(one(0.2)), colour.hue(one(0.3)), colour.channel_mix(shares)):
        np.testing.assert_array_equal(apply(GREY, matrix), GREY)
        grey_in_colour = np.repeat(GREY[..., None], 3, axis=2)
        assert apart(apply(grey_in_colour, matrix), grey_in_colour) <= 1


def test_the_mean_that_contrast_turns_about() -> None:
    assert colour.mean_luma(pixel(255, 0, 0)) == pytest.approx(0.299)
    assert colour.mean_luma(np.array([[0, 255], [0, 0]], np.uint8)) == pytest.approx(0.25)
    for image in (COLOUR, GREY):
        assert colour.mean_luma_batch(tensor(image))[0].item() == pytest.approx(colour.mean_luma(image), abs=1e-6)


@BACK_ENDS
@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["colour", "grey"])
def test_the_identity_returns_every_bit(apply: Apply, image: Pixels) -> None:
    np.testing.assert_array_equal(apply(image, colour.brightness(one(1.0))), image)
    np.testing.assert_array_equal(apply(image, colour.hue(one(1.0))), image)  # all the way round


@given(turn=st.floats(-0.5, 0.5))
@quickly
def test_hue_turns_the_chroma_and_keeps_the_luma(turn: float) -> None:
    """In YIQ a turn by h is a rotation of (I, Q) by 2 pi h; against the sense of I to Q, as from red to yellow."""
    rgb = np.array([0.5, 0.3, 0.4])
    turned = colour.hue(one(turn))[0, :, :3] @ rgb

    def yiq(values: Floats) -> tuple[float, complex]:
        i, q = np.array([[0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]) @ values
        return float([0.299, 0.587, 0.114] @ values), complex(i, q)

    (luma, chroma), (new_luma, new_chroma) = yiq(rgb), yiq(turned)
    assert new_luma == pytest.approx(luma, abs=1e-5)
    assert new_chroma == pytest.approx(chroma * np.exp(-2j * math.pi * turn), abs=1e-5)


@given(factor=factors, other=factors, strength=factors, turn=st.floats(-0.5, 0.5))
@quickly
def test_what_keeps_grey_grey_commutes(factor: float, other: float, strength: float, turn: float) -> None:
    mean = one(0.45)
    changes = [colour.brightness(one(factor)), colour.saturation(one(strength)), colour.hue(one(turn))]
    forward = colour.compose(colour.contrast(one(other), mean), *changes)
    # contrast last turns about the mean of the image as it has become
    backward = colour.compose(*reversed(changes), colour.contrast(one(other), mean * factor))
    np.testing.assert_allclose(forward, backward, atol=1e-4)


@given(factor=st.floats(0.3, 1.3), other=factors, strength=factors, turn=st.floats(-0.5, 0.5), seed=st.integers(0, 99))
@quickly
def test_a_composition_is_one_after_the_other(
    factor: float, other: float, strength: float, turn: float, seed: int
) -> None:
    """Where nothing is clipped: exactly, but for rounding to whole levels, which the next change magnifies."""
    image = 112 + noise(8, 8, 3, seed=seed) // 16
    changes = [
        colour.contrast(one(other), one(0.45)),
        colour.brightness(one(factor)),
        colour.saturation(one(strength)),
        colour.hue(one(turn)),
    ]
    exact, whole, error = tensor(image).double(), image, 0.0
    for change in changes:
        exact = colour.recolour_batch(exact, torch.from_numpy(change))
        whole = recoloured(whole, change)
        error = error * np.abs(change[0, :, :3]).sum(axis=1).max() + 1
    at_once = colour.recolour_batch(tensor(image).double(), torch.from_numpy(colour.compose(*changes)))
    torch.testing.assert_close(at_once, exact, atol=1e-6, rtol=0)
    assert apart(recoloured(image, *changes), whole) <= error + 1


@given(
    factor=factors,
    other=factors,
    strength=st.floats(0, 2),
    turn=st.floats(-0.5, 0.5),
    shares=st.lists(st.floats(-0.5, 0.5), min_size=6, max_size=6),
    seed=st.integers(0, 99),
)
@pytest.mark.parametrize("shape", [(8, 8), (16, 16, 3)], ids=str)
@quickly
def test_both_back_ends_agree_within_a_grey_level(
    shape: tuple[int, ...], factor: float, other: float, strength: float, turn: float, shares: list[float], seed: int
) -> None:
    image = noise(*shape, seed=seed)
    changes = [
        colour.contrast(one(other), one(colour.mean_luma(image))),
        colour.brightness(one(factor)),
        colour.saturation(one(strength)),
        colour.hue(one(turn)),
        colour.channel_mix([one(share) for share in shares]),
    ]
    assert apart(recoloured(image, *changes), recoloured_as_batch(image, *changes)) <= 1


@pytest.mark.parametrize("factor", [0.7, 1.4])
@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation"])
def test_albumentations_does_the_same_within_a_grey_level(change: str, factor: float) -> None:
    same = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1), "hue": (0, 0)}
    theirs = A.Compose([A.ColorJitter(**(same | {change: (factor, factor)}), p=1)])(image=COLOUR)["image"]
    ours = {
        "brightness": colour.brightness(one(factor)),
        "contrast": colour.contrast(one(factor), one(colour.mean_luma(COLOUR))),
        "saturation": colour.saturation(one(factor)),
    }
    assert apart(recoloured(COLOUR, ours[change]), theirs) <= 1


@pytest.mark.parametrize("turn", [0.1, -0.1])
def test_hue_turns_the_way_albumentations_does(turn: float) -> None:
    """Theirs works in HSV, which is not linear and changes the luma, so only the sense of the turn is the same."""
    same = {"brightness": (1, 1), "contrast": (1, 1), "saturation": (1, 1)}
    theirs = A.Compose([A.ColorJitter(**same, hue=(turn, turn), p=1)])(image=COLOUR)["image"].astype(int)
    with_it, against_it = (np.abs(recoloured(COLOUR, colour.hue(one(t))) - theirs).mean() for t in (turn, -turn))
    assert with_it < against_it / 2
