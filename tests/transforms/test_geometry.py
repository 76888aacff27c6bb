import math
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.images import Pixels
from pipeline.transforms import geometry
from pipeline.transforms.geometry import Border, Floats, Matrix
from tests.transforms.pictures import apart, noise, pixels, smooth, tensor

BORDERS: tuple[Border, ...] = ("black", "edge", "reflect")
COLOUR = noise(12, 12, 3)
degrees, small = st.floats(-180, 180), st.floats(-0.3, 0.3)
quickly = settings(max_examples=60, deadline=None)


def one(value: float) -> Floats:
    return np.array([value])


def resampled(image: Pixels, *changes: Matrix[Floats], border: Border = "black") -> Pixels:
    matrix = geometry.in_pixels(geometry.compose(*changes), *image.shape[:2])[0]
    return geometry.resample(image, matrix, border)


def resampled_as_batch(image: Pixels, *changes: Matrix[Floats], border: Border = "black") -> Pixels:
    matrix = geometry.compose(*(Matrix(*(torch.from_numpy(entry) for entry in change)) for change in changes))
    return pixels(geometry.resample_batch(tensor(image), matrix, border))[0]


BACK_ENDS = pytest.mark.parametrize("apply", [resampled, resampled_as_batch], ids=["cv2", "torch"])
NOTHING = geometry.rotation(one(0.0))


@BACK_ENDS
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3), (7, 12, 3), (1, 1)], ids=str)
def test_the_identity_returns_every_bit(apply: Any, shape: tuple[int, ...], border: Border) -> None:
    image = noise(*shape)
    np.testing.assert_array_equal(apply(image, NOTHING, border=border), image)


@BACK_ENDS
def test_known_moves(apply: Any) -> None:
    """Each of these takes whole pixels, so every bit is known."""
    turned = geometry.rotation(one(math.pi / 2))
    np.testing.assert_array_equal(apply(COLOUR, turned), np.rot90(COLOUR))
    np.testing.assert_array_equal(apply(COLOUR, geometry.scale(one(-1.0), one(1.0))), COLOUR[:, ::-1])
    np.testing.assert_array_equal(apply(COLOUR, geometry.scale(one(1.0), one(-1.0))), COLOUR[::-1])
    moved = apply(COLOUR, geometry.shift(one(2 * 3 / 12), one(-2 * 1 / 12)))  # 3 pixels to the left, 1 down
    np.testing.assert_array_equal(moved[1:, :-3], COLOUR[:-1, 3:])
    assert not moved[0].any()
    assert not moved[:, -3:].any()
    # of the middle third, each pixel thrice as wide: its centre is what the middle one of three shows
    third = apply(COLOUR, geometry.crop(one(1 / 3), one(1 / 3), one(0.0), one(0.0)))
    np.testing.assert_array_equal(third[1::3, 1::3], COLOUR[4:8, 4:8])
    # row y is slanted by y - 5.5 pixels for each pixel: the lowest by 5.5 x 2/11 = 1
    slanted = apply(COLOUR, geometry.shear(one(2 / 11)))
    np.testing.assert_array_equal(slanted[11, :-1], COLOUR[11, 1:])
    np.testing.assert_array_equal(slanted[0, 1:], COLOUR[0, :-1])


@BACK_ENDS
def test_a_turn_stays_one_on_an_image_that_is_not_square(apply: Any) -> None:
    wide = noise(5, 11)
    turned = apply(wide, geometry.rotation(one(math.pi / 2), aspect=11 / 5))
    # the square of 5 x 5 in the middle turns as a square would; what lies beside it turns out of the picture
    np.testing.assert_array_equal(turned[:, 3:8], np.rot90(wide[:, 3:8]))
    upside = apply(wide, geometry.rotation(one(math.pi), aspect=11 / 5))
    np.testing.assert_array_equal(upside, wide[::-1, ::-1])


@BACK_ENDS
def test_a_slant_is_counted_in_pixels_on_any_image(apply: Any) -> None:
    wide = noise(5, 11)
    slanted = apply(wide, geometry.shear(one(1.0), aspect=11 / 5))  # a pixel for each row, from -2 to 2
    for row, by in enumerate((-2, -1, 0, 1, 2)):
        shown = slice(max(0, -by), 11 - max(0, by))
        from_there = slice(max(0, by), 11 + min(0, by))
        np.testing.assert_array_equal(slanted[row, shown], wide[row, from_there])


@BACK_ENDS
def test_what_lies_outside(apply: Any) -> None:
    image = np.array([[10, 20, 30, 40]], dtype=np.uint8)
    shown = {border: apply(image, geometry.shift(one(2 * 2 / 4), one(0.0)), border=border)[0] for border in BORDERS}
    assert shown["black"].tolist() == [30, 40, 0, 0]
    assert shown["edge"].tolist() == [30, 40, 40, 40]
    assert shown["reflect"].tolist() == [30, 40, 40, 30]


@pytest.mark.parametrize("degrees", [1, 17, 45, 137])
def test_the_last_bit_of_a_cosine_changes_no_matrix(degrees: int) -> None:
    """Processors differ in it, and an image is to be made again on any of them."""
    angle = one(math.radians(degrees))
    turned, nearly = geometry.rotation(angle), geometry.rotation(np.nextafter(angle, 9))
    assert any(not np.array_equal(entry, other) for entry, other in zip(turned, nearly, strict=True))
    np.testing.assert_array_equal(geometry.in_pixels(turned, 33, 47), geometry.in_pixels(nearly, 33, 47))


@BACK_ENDS
@given(axis=st.sampled_from([(-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]), seed=st.integers(0, 99))
@quickly
def test_a_flip_twice_is_none(apply: Any, axis: tuple[float, float], seed: int) -> None:
    image, flip = noise(9, 14, 3, seed=seed), geometry.scale(one(axis[0]), one(axis[1]))
    np.testing.assert_array_equal(apply(apply(image, flip), flip), image)
    np.testing.assert_array_equal(apply(image, flip, flip), image)


@BACK_ENDS
@given(angle=degrees, seed=st.integers(0, 9))
@quickly
def test_a_turn_and_back_returns_the_centre(apply: Any, angle: float, seed: int) -> None:
    image, turn = smooth(seed=seed), math.radians(angle)
    there, back = geometry.rotation(one(turn)), geometry.rotation(one(-turn))
    y, x = np.mgrid[:48, :48] - 23.5
    inside = np.hypot(x, y) < 22  # what a turn does not move out of the picture
    assert apart(apply(apply(image, there), back)[inside], image[inside]) <= 3
    np.testing.assert_array_equal(apply(image, there, back), image)


@st.composite
def changes(draw: st.DrawFn) -> Matrix[Floats]:
    kind = draw(st.sampled_from(["rotation", "scale", "shear", "shift", "crop"]))
    if kind == "rotation":
        return geometry.rotation(one(math.radians(draw(degrees))))
    if kind == "scale":
        return geometry.scale(one(1 + draw(small)), one((1 + draw(small)) * draw(st.sampled_from([1.0, -1.0]))))
    if kind == "crop":
        return geometry.crop(one(1 - abs(draw(small))), one(1 - abs(draw(small))), one(draw(small)), one(draw(small)))
    return geometry.shear(one(draw(small))) if kind == "shear" else geometry.shift(one(draw(small)), one(draw(small)))


@BACK_ENDS
@given(first=changes(), second=changes(), third=changes(), seed=st.integers(0, 9))
@quickly
def test_a_composition_is_one_after_the_other(
    apply: Any, first: Matrix[Floats], second: Matrix[Floats], third: Matrix[Floats], seed: int
) -> None:
    """Interpolating thrice is coarser than once: by at most 4 of 255 levels on a smooth image."""
    image = smooth(seed=seed)
    in_turn = apply(apply(apply(image, first), second), third)
    seen = np.full_like(image, 255)  # where nothing from outside comes in, this stays white
    inside = apply(apply(apply(seen, first), second), third) == 255
    assert apart(apply(image, first, second, third)[inside], in_turn[inside]) <= 4


@given(first=changes(), second=changes(), border=st.sampled_from(BORDERS), seed=st.integers(0, 99))
@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3), (9, 14, 3), (21, 10)], ids=str)
@quickly
def test_both_back_ends_agree_within_a_grey_level_even_on_noise(
    shape: tuple[int, ...], first: Matrix[Floats], second: Matrix[Floats], border: Border, seed: int
) -> None:
    image = noise(*shape, seed=seed)
    one_way = resampled(image, first, second, border=border)
    assert apart(one_way, resampled_as_batch(image, first, second, border=border)) <= 1
    assert (one_way.shape, one_way.dtype) == (image.shape, image.dtype)


PEERS = {
    "rotation": (geometry.rotation(one(math.radians(17))), A.Affine(rotate=(17, 17), p=1)),
    "far rotation": (geometry.rotation(one(math.radians(-137))), A.Rotate((-137, -137), border_mode=0, p=1)),
    "scale": (geometry.scale(one(1.25), one(0.8)), A.Affine(scale={"x": (0.8, 0.8), "y": (1.25, 1.25)}, p=1)),
    "shear": (
        geometry.shear(one(math.tan(math.radians(15)))),
        A.Affine(shear={"x": (15, 15), "y": (0, 0)}, p=1),
    ),
    "shift": (
        geometry.shift(one(-0.2), one(0.1)),
        A.Affine(translate_percent={"x": (0.1, 0.1), "y": (-0.05, -0.05)}, p=1),
    ),
    "flip": (geometry.scale(one(-1.0), one(1.0)), A.HorizontalFlip(p=1)),
}


@pytest.mark.parametrize("name", PEERS)
def test_albumentations_does_the_same_to_the_bit(name: str) -> None:
    """On albumentations 2.0.8 with the same parameters; a shift of 0.1 is a tenth of the side, so -0.2 of ours."""
    ours, peer = PEERS[name]
    image = noise(40, 40, 3)
    np.testing.assert_array_equal(resampled(image, ours), A.Compose([peer])(image=image)["image"])


def test_albumentations_crops_alike_within_a_grey_level() -> None:
    """Except at its edge, where it stretches the last pixel and we see the one outside the crop."""
    image = noise(40, 40, 3)
    theirs = A.Compose([A.Crop(5, 10, 35, 30), A.Resize(40, 40)])(image=image)["image"]
    ours = resampled(image, geometry.crop(one(0.75), one(0.5), one(0.0), one(0.0)))
    assert apart(ours[2:-2, 2:-2], theirs[2:-2, 2:-2]) <= 1
