"""What a policy does to images: both on the fly and one by one, from the same random numbers."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.images import Pixels
from pipeline.transforms.augmentation import augment_batch, augment_images
from pipeline.transforms.policy import MOVES, RECOLOURS, Policy
from tests.transforms.pictures import apart, noise, pixels, tensor

SIDE = 32
NOISE = torch.rand(6, 3, 12, 12, generator=torch.Generator().manual_seed(1)) * 2 - 1
X = (torch.arange(SIDE) - (SIDE - 1) / 2).expand(SIDE, SIDE)
"""Column of each pixel, 0 in the middle."""
RAMPS = (torch.stack([X, X.T]) / 40).expand(200, 2, SIDE, SIDE)
"""Channel 0 grows along x, channel 1 along y: after a change their values say where each pixel came from."""
EVERYTHING: dict[str, Any] = {
    "rotation_degrees": 40,
    "shift": 0.2,
    "scale": 0.3,
    "shear": 0.3,
    "horizontal_flip": 0.5,
    "vertical_flip": 0.5,
    "crop": 0.5,
    "brightness": 0.4,
    "contrast": 0.5,
    "saturation": 0.6,
    "hue": 0.2,
    "channel_mix": 0.2,
}


def changed(images: Tensor, seed: int = 0, **values: Any) -> Tensor:
    return augment_batch(images, Policy(**({"border": "edge"} | values)), torch.Generator().manual_seed(seed))


def came_from(**values: Any) -> tuple[Tensor, Tensor]:
    """Where the middle of each of 200 images came from, and the map's slopes there: pixels [200, 2], [200, 2, 2]."""
    moved = changed(RAMPS, **values) * 40
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


# ------------------------------------------------------------ ranges


def test_nothing_asked_for_changes_no_bit() -> None:
    assert torch.equal(changed(NOISE), NOISE)
    image = noise(9, 9, 3)
    assert next(augment_images([image], Policy(), [3])) is image
    assert list(augment_images([], Policy(), [])) == []


def test_half_are_flipped() -> None:
    for change, axis in (("horizontal_flip", 0), ("vertical_flip", 1)):
        _, slopes = came_from(**{change: 0.5})
        assert 80 <= (slopes[:, axis, axis] < 0).sum() <= 120
        assert (slopes[:, 1 - axis, 1 - axis] > 0).all()


def test_shift_is_a_share_of_the_side() -> None:
    middle, slopes = came_from(shift=0.25)
    assert_spans(middle[:, 0], -8.0, 8.0)  # a quarter of 32 pixels
    assert_spans(middle[:, 1], -8.0, 8.0)
    torch.testing.assert_close(slopes, torch.eye(2).expand(200, 2, 2), atol=1e-3, rtol=0)


def test_a_shift_by_whole_pixels_is_a_crop_of_the_padded_image() -> None:
    image = noise(8, 16, 3)
    padded = np.pad(image, ((2, 2), (4, 4), (0, 0)))
    policy = Policy(shift=0.25, whole_pixels=True)
    seen = np.zeros((5, 9), int)
    batch = pixels(augment_batch(tensor(image).expand(900, 3, 8, 16), policy, torch.Generator().manual_seed(0)))
    crops = {padded[y : y + 8, x : x + 16].tobytes(): (y, x) for y in range(5) for x in range(9)}
    for out in batch:
        seen[crops[out.tobytes()]] += 1
    assert (seen > 4).all()  # 20 of each are expected
    assert (abs(seen.sum(axis=1) - 180) < 60).all()
    for seed in range(20):
        stored = next(augment_images([image], policy, [seed]))
        on_the_fly = augment_batch(tensor(image), policy, torch.Generator().manual_seed(seed))
        np.testing.assert_array_equal(stored, pixels(on_the_fly)[0])


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


def test_a_crop_keeps_its_share_of_the_area_and_stays_inside() -> None:
    middle, slopes = came_from(crop=0.5)
    width, height = slopes[:, 0, 0], slopes[:, 1, 1]
    assert_spans(width * height, 0.5, 1.0)
    assert_spans(width / height, 1 / 1.18, 1.18)
    for side, centre in ((width, middle[:, 0]), (height, middle[:, 1])):
        room = SIDE / 2 * (1 - side)
        assert (centre.abs() <= room + 1e-3).all()
        assert (centre.abs() > 0.9 * room).any()


def test_magnitude_multiplies_ranges_and_no_probability() -> None:
    _, slopes = came_from(rotation_degrees=30, horizontal_flip=0.5, magnitude=0.5)
    degrees = torch.rad2deg(torch.atan(slopes[:, 1, 0] / slopes[:, 0, 0]))
    assert_spans(degrees, -15.0, 15.0)
    assert 80 <= (slopes[:, 0, 0] < 0).sum() <= 120
    assert Policy(crop=0.5, rotation_degrees=100.0, magnitude=9.0).span("crop") == 0.95
    assert torch.equal(changed(NOISE, rotation_degrees=30, brightness=0.3, magnitude=0.0), NOISE)


def test_brightness_multiplies_and_contrast_turns_about_the_mean() -> None:
    flat = torch.full((200, 1, 4, 4), 0.0)  # half of white
    assert_spans(changed(flat, brightness=0.2)[:, 0, 0, 0], -0.2, 0.2)
    torch.testing.assert_close(changed(flat, contrast=0.9), flat, atol=1e-5, rtol=0)
    halves = torch.tensor([-0.5, 0.5]).repeat(8).reshape(1, 1, 4, 4).expand(200, 1, 4, 4)
    assert_spans(changed(halves, contrast=0.2)[:, 0, 0, 1], 0.4, 0.6)
    assert_spans(changed(halves, contrast=0.2)[:, 0, 0, 0], -0.6, -0.4)
    assert changed(torch.full((50, 1, 4, 4), 0.95), brightness=0.5).max() == 1.0


def test_what_comes_in_from_outside_stays_black_whatever_the_colours() -> None:
    grey = torch.zeros(20, 1, 8, 8)
    assert changed(grey, shift=0.5, brightness=0.3, contrast=0.3, border="black").min() == -1.0
    for border in ("edge", "reflect"):
        torch.testing.assert_close(changed(grey, shift=0.5, border=border), grey, atol=1e-5, rtol=0)


# ------------------------------------------------------------ seeds


def test_the_generator_s_seed_decides() -> None:
    first = changed(NOISE, seed=3, **EVERYTHING)
    torch.rand(7)  # the global state must not matter
    assert torch.equal(changed(NOISE, seed=3, **EVERYTHING), first)
    assert not torch.equal(changed(NOISE, seed=4, **EVERYTHING), first)
    repeated = changed(NOISE[:1].expand(6, 3, 12, 12), seed=3, **EVERYTHING)
    assert len({image.numpy().tobytes() for image in repeated}) == 6


@pytest.mark.parametrize("name", ["none", "digits", "standard", "strong", "trivial"])
def test_what_becomes_of_an_image_depends_on_its_seed_alone(name: str) -> None:
    images = [noise(16, 16, 3, seed=number) for number in range(40)]
    together = list(augment_images(images, Policy(name=name), range(40)))
    for number in reversed(range(40)):
        alone = next(augment_images([images[number]], Policy(name=name), [number]))
        np.testing.assert_array_equal(alone, together[number])


@given(
    values=st.dictionaries(st.sampled_from(list(EVERYTHING)), st.floats(0, 0.5), min_size=1),
    border=st.sampled_from(["black", "edge", "reflect"]),
    pick=st.integers(0, 4),
    seed=st.integers(0, 2**31 - 1),
)
@pytest.mark.parametrize("shape", [(8, 8), (32, 32, 3), (9, 14, 3)], ids=str)
@settings(max_examples=80, deadline=None)
def test_an_image_stored_is_a_batch_of_one_on_the_fly(
    shape: tuple[int, ...], values: dict[str, float], border: str, pick: int, seed: int
) -> None:
    """Same seed, same policy: equal within a grey level, whichever back end made it."""
    degrees = 100 * values.get("rotation_degrees", 0)
    policy = Policy(**(values | {"rotation_degrees": degrees, "border": border, "pick": pick}))
    image = noise(*shape, seed=seed)
    stored = next(augment_images([image], policy, [seed]))
    on_the_fly = pixels(augment_batch(tensor(image), policy, torch.Generator().manual_seed(seed)))[0]
    assert apart(stored, on_the_fly) <= 1


def as_models_were_trained(images: Tensor, policy: Policy, rng: torch.Generator) -> Tensor:
    """The first version of augmentation on the fly, which drew number after number."""

    def uniform(shape: tuple[int, ...], limit: float) -> Tensor:
        return (torch.rand(shape, generator=rng) * 2 - 1) * limit

    n = len(images)
    angle = uniform((n,), math.radians(policy.rotation_degrees))
    scale_x, scale_y = 1 + uniform((n,), policy.scale), 1 + uniform((n,), policy.scale)
    shear, shift = uniform((n,), policy.shear), uniform((n, 2), 2 * policy.shift)
    flip = 1 - 2 * (torch.rand(n, generator=rng) < policy.horizontal_flip).float()
    cos, sin = angle.cos(), angle.sin()
    top = torch.stack([cos * scale_x * flip, (cos * shear - sin) * scale_y, shift[:, 0]], dim=1)
    bottom = torch.stack([sin * scale_x * flip, (sin * shear + cos) * scale_y, shift[:, 1]], dim=1)
    grid = F.affine_grid(torch.stack([top, bottom], dim=1), list(images.shape), align_corners=False)
    return (F.grid_sample(images + 1, grid, padding_mode="zeros", align_corners=False) - 1).clamp(-1, 1)


@pytest.mark.parametrize("num_images", [1, 7, 64])
def test_the_order_of_the_draws_is_the_one_that_models_were_trained_with(num_images: int) -> None:
    """To the bit: another order would change every model that there is."""
    images = torch.rand(num_images, 1, 8, 8, generator=torch.Generator().manual_seed(num_images)) * 2 - 1
    moves = {"rotation_degrees": 12.0, "shift": 0.1, "scale": 0.1, "shear": 0.1, "horizontal_flip": 0.5}
    policy = Policy(**moves)
    for seed in range(5):
        expected = as_models_were_trained(images, policy, torch.Generator().manual_seed(seed))
        assert torch.equal(augment_batch(images, policy, torch.Generator().manual_seed(seed)), expected)


# ------------------------------------------------------------ hiding


def test_a_square_is_hidden_around_any_pixel_and_in_the_mean_colour() -> None:
    image = noise(8, 12, 3)
    mean = np.rint(image.mean(axis=(0, 1)))
    areas, covered = set(), np.zeros((8, 12), bool)
    for seed in range(200):
        out = next(augment_images([image], Policy(cutout=0.5), [seed]))
        rows, columns = np.nonzero((out != image).any(axis=2))
        top, bottom, left, right = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
        np.testing.assert_array_equal(
            out[top:bottom, left:right], np.broadcast_to(mean, out[top:bottom, left:right].shape)
        )
        areas.add((bottom - top, right - left))
        covered[top:bottom, left:right] = True
    assert {side for area in areas for side in area} == {2, 3, 4}  # half of the shorter side, less beyond an edge
    assert covered.all()


@pytest.mark.parametrize("shape", [(8, 8), (9, 14, 3)], ids=str)
@pytest.mark.parametrize("pick", [0, 1])
def test_what_is_hidden_is_the_same_on_the_fly_and_stored(shape: tuple[int, ...], pick: int) -> None:
    policy = Policy(cutout=0.5, shift=0.2, whole_pixels=True, brightness=0.3, pick=pick)
    images = [noise(*shape, seed=seed) for seed in range(30)]
    for seed, image in enumerate(images):
        stored = next(augment_images([image], policy, [seed]))
        on_the_fly = augment_batch(tensor(image), policy, torch.Generator().manual_seed(seed))
        assert apart(stored, pixels(on_the_fly)[0]) <= 1


def test_a_policy_that_hides_draws_all_else_as_without() -> None:
    both = changed(NOISE, shift=0.2, brightness=0.4), changed(NOISE, shift=0.2, brightness=0.4, cutout=0.3)
    same = (both[0] == both[1]).float().mean(dim=(1, 2, 3))
    assert (same > 0.85).all()
    assert (same < 1).all()


# ------------------------------------------------------------ some of the changes, and others by name


def test_pick_leaves_so_many_of_the_changes() -> None:
    """Each of six changes moves a pixel in a way of its own, so what is left of them can be told."""
    image = np.full((9, 9, 3), (200, 100, 50), np.uint8)
    flips = {"horizontal_flip": 1.0, "vertical_flip": 1.0}
    image[2, 3] = 0
    seen = {}
    for seed in range(300):
        out = next(augment_images([image], Policy(**flips, brightness=0.9, pick=1), [seed]))
        place = tuple(int(axis) for axis in np.argwhere(out.sum(axis=2) == 0)[0])
        brighter = bool((out[0, 0] != image[0, 0]).any())
        seen[place, brighter] = seen.get((place, brighter), 0) + 1
    assert set(seen) == {((2, 5), False), ((6, 3), False), ((2, 3), True)}
    assert all(60 < times < 140 for times in seen.values())
    both = {
        tuple(np.argwhere(next(augment_images([image], Policy(**flips, pick=2), [s]))[..., 0] == 0)[0]) for s in (1, 2)
    }
    assert both == {(6, 5)}


def test_a_change_that_is_off_is_never_picked() -> None:
    image = noise(8, 8, 3)
    flipped = [next(augment_images([image], Policy(horizontal_flip=1.0, pick=1), [seed])) for seed in range(20)]
    assert all(np.array_equal(out, image[:, ::-1]) for out in flipped)


EXTRA = [{"name": "InvertImg", "p": 0.5}, {"name": "GaussNoise", "std_range": [0.1, 0.2], "p": 1.0}]


@pytest.mark.parametrize("image", [noise(8, 8, 3), noise(8, 8)], ids=["colour", "grey"])
def test_others_are_applied_by_name_alike_on_the_fly_and_stored(image: Pixels) -> None:
    policy = Policy(extra=EXTRA)
    stored = [next(augment_images([image], policy, [seed])) for seed in range(12)]
    for seed, out in enumerate(stored):
        np.testing.assert_array_equal(next(augment_images([image], policy, [seed])), out)
        on_the_fly = augment_batch(tensor(image), policy, torch.Generator().manual_seed(seed))
        np.testing.assert_array_equal(pixels(on_the_fly)[0], out)
    assert len({out.tobytes() for out in stored}) == 12
    inverted = [out for out in stored if apart(out, image) > apart(255 - image, out)]
    assert 2 <= len(inverted) <= 10


def test_others_can_be_picked_too() -> None:
    image = np.full((8, 8, 3), 60, np.uint8)
    policy = Policy(brightness=0.5, extra=[{"name": "InvertImg", "p": 1.0}], pick=1)
    made = [int(next(augment_images([image], policy, [seed]))[0, 0, 0]) for seed in range(100)]
    assert 30 < sum(level == 195 for level in made) < 70  # 255 - 60
    assert all(level == 195 or 30 <= level <= 90 for level in made)


def test_a_policy_s_changes_are_all_drawn() -> None:
    assert set(EVERYTHING) == {*MOVES, *RECOLOURS}
    image = noise(16, 16, 3)
    for change, most in EVERYTHING.items():
        policy = Policy(**{change: 1.0 if "flip" in change else most})
        assert all(not np.array_equal(next(augment_images([image], policy, [seed])), image) for seed in range(5)), (
            change
        )
