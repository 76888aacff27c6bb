from typing import Any

import numpy as np
import pytest
from pydantic_core import PydanticCustomError

from pipeline.errors import UserError
from pipeline.transforms import by_name
from pipeline.transforms.policy import MOVES, RECOLOURS
from tests.transforms.pictures import noise

COLOUR, GREY = noise(32, 32, 3), noise(32, 32)


@pytest.mark.parametrize(
    "spec",
    [
        {"name": "GaussNoise", "std_range": [0.1, 0.2], "p": 0.3},
        {"name": "Blur", "blur_limit": [3, 5]},
        {"name": "ImageCompression", "quality_range": [30, 60], "p": 1},
        {"name": "CoarseDropout", "num_holes_range": [1, 3], "hole_height_range": [0.1, 0.2], "fill": 7},
        {"name": "CLAHE"},
    ],
    ids=lambda spec: spec["name"],
)
def test_a_right_one_is_taken_as_it_is(spec: dict[str, Any]) -> None:
    assert by_name.check(spec) is spec


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"name": "GausNoise"}, "named after a transform of Albumentations (did you mean GaussNoise"),
        ({"name": "xyz"}, "named after a transform of Albumentations (albumentations.ai/docs lists them)"),
        ({"p": 1.0}, "named after a transform of Albumentations ("),
        ({"name": ["Blur"]}, "named after a transform of Albumentations ("),
        ({"name": "Compose"}, "named after a transform of Albumentations ("),
        ({"name": "Lambda"}, "named after a transform of Albumentations ("),
        ({"name": "CenterCrop3D", "size": [1, 1, 1]}, "named after a transform of Albumentations (did you mean Center"),
        ({"name": "GaussNoise", "std_rage": [0, 1]}, "without 'std_rage' (did you mean std_range?)"),
        ({"name": "GaussNoise", "sigma": 1}, "without 'sigma' (GaussNoise has std_range, mean_range, per_channel, "),
        (
            {"name": "GaussNoise", "std_range": [0.1, 20]},
            "what GaussNoise takes (std_range: All values in (0.1, 20.0) must",
        ),
        (
            {"name": "GaussNoise", "std_range": [0.3, 0.1]},
            "what GaussNoise takes (std_range: First value should be less",
        ),
        (
            {"name": "GaussNoise", "std_range": "much"},
            "what GaussNoise takes (std_range: Input should be a valid tuple)",
        ),
        ({"name": "GaussNoise", "p": 3}, "what GaussNoise takes (p: Input should be less than or equal to 1)"),
        ({"name": "Posterize", "num_bits": 9}, "what Posterize takes (num_bits: num_bits must be in the range [1, 7])"),
        ({"name": "Blur", "blur_limit": 4}, "what Blur takes (blur_limit: Non-zero kernel sizes must be odd."),
        ({"name": "RandomCrop", "height": 4}, "what RandomCrop takes (width: Field required)"),
        ({"name": "FDA"}, "a transform of an image alone (needs fda_metadata)"),
    ],
    ids=str,
)
def test_a_wrong_one_is_told_in_a_line(spec: dict[str, Any], told: str) -> None:
    with pytest.raises(PydanticCustomError) as caught:
        by_name.check(spec)
    message = caught.value.message()
    assert message.startswith(told)
    assert "\n" not in message
    assert "pydantic" not in message


@pytest.mark.parametrize("pixels", [COLOUR, GREY], ids=["colour", "grey"])
def test_the_seed_decides_whatever_came_before(pixels: Any) -> None:
    specs = [{"name": "GaussNoise", "p": 1.0}, {"name": "CoarseDropout", "p": 0.5}]
    made = [by_name.apply(specs, pixels, seed) for seed in range(5)]
    np.random.seed(1)  # noqa: NPY002 - the global state must not matter
    for seed in reversed(range(5)):
        np.testing.assert_array_equal(by_name.apply(specs, pixels, seed), made[seed])
    assert len({image.tobytes() for image in made}) == 5
    assert all((image.shape, image.dtype) == (pixels.shape, np.uint8) for image in made)


def test_the_same_transform_twice_draws_twice() -> None:
    twice = [{"name": "InvertImg", "p": 0.5}] * 2
    undone = sum(np.array_equal(by_name.apply(twice, COLOUR, seed), COLOUR) for seed in range(40))
    assert 8 < undone < 32  # both or neither, half of the time; all of it if they drew the same


def test_no_transforms_change_nothing() -> None:
    assert by_name.apply([], COLOUR, 0) is COLOUR


@pytest.mark.parametrize(
    ("spec", "pixels", "told"),
    [
        (
            {"name": "RandomFog"},
            GREY,
            "policy: RandomFog cannot be applied to 32x32 uint8 (This transformation expects",
        ),
        ({"name": "BBoxSafeRandomCrop"}, COLOUR, "policy: BBoxSafeRandomCrop cannot be applied to 32x32x3 uint8 ("),
        (
            {"name": "CenterCrop", "height": 9, "width": 8},
            GREY,
            "policy: CenterCrop makes 9x8x1 uint8 of 32x32 uint8; ",
        ),
        ({"name": "Normalize"}, COLOUR, "policy: Normalize makes 32x32x3 float32 of 32x32x3 uint8; neither may change"),
        ({"name": "ToRGB"}, GREY, "policy: ToRGB makes 32x32x3 uint8 of 32x32 uint8; neither may change"),
    ],
    ids=str,
)
def test_one_that_does_not_fit_the_images_is_found_before_the_first(
    spec: dict[str, Any], pixels: Any, told: str
) -> None:
    never = by_name.check(spec | {"p": 0.0})  # even if it would rarely happen
    with pytest.raises(UserError) as caught:
        by_name.check_on([never], pixels)
    assert str(caught.value).startswith(told)
    assert "\n" not in str(caught.value)


def test_every_name_behind_a_limit_is_a_transform() -> None:
    assert set(by_name.SAME_AS) == {*MOVES, *RECOLOURS}
    assert {name for names in by_name.SAME_AS.values() for name in names} <= set(by_name._transforms())
