import cv2
import numpy as np
import numpy.typing as npt
import pytest

from pipeline.metrics.bias import odd, properties
from pipeline.stages import analyze_bias
from tests.tiny import settings

PARAMS = settings(analyze_bias.Params, "analyze_bias").odd_images


def textured(count: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Images of soft and hard shapes, uint8 [N, 32, 32, 3]."""
    rng = np.random.default_rng(seed)
    images = np.empty((count, 32, 32, 3), dtype=np.uint8)
    for image in images:
        soft = cv2.resize(rng.integers(30, 226, (5, 5, 3), dtype=np.uint8), (32, 32), interpolation=cv2.INTER_CUBIC)
        image[:] = soft
        top, left = rng.integers(4, 18, 2)
        image[top : top + 9, left : left + 9] = rng.integers(0, 256, 3)
    return images


def measured(images: npt.NDArray[np.uint8], width: float = np.nan) -> dict[str, npt.NDArray[np.float32]]:
    """Properties of images that were `width` x 100 pixels at their source."""
    sizes = np.full(len(images), width, dtype=np.float32), np.full(len(images), 100, dtype=np.float32)
    return properties.measure(images) | {"size": properties.size(*sizes), "aspect": properties.aspect(*sizes)}


def judged(images: npt.NDArray[np.uint8], usual_of: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.bool_]]:
    return odd.flags(measured(images), odd.usual(measured(usual_of), has_edges=True), PARAMS)


def test_robust_z_by_hand() -> None:
    # Median 3, deviations 2, 1, 0, 1, 97: their median is 1.
    median, spread = odd.centre_and_spread(np.array([1.0, 2, 3, 4, 100]))
    assert (median, spread) == (3.0, pytest.approx(1.4826))
    assert odd.robust_z(np.array([3.0, 3 + 1.4826]), median, spread) == pytest.approx([0, 1])
    assert odd.robust_z(np.array([5.0, 9.0]), *odd.centre_and_spread(np.array([5.0, 5, 5, 9]))).tolist() == [0.0, 0.0]


def test_ordinary_images_are_hardly_ever_odd() -> None:
    images = textured(300)
    found = {kind: int(flagged.sum()) for kind, flagged in judged(images, images).items()}
    assert (found["dark"], found["bright"], found["flat"]) == (0, 0, 0)
    assert found["blurred"] <= 2


def test_each_kind_is_found_and_taken_for_no_other() -> None:
    usual = textured(300)
    dark, bright, flat = usual[:1] // 6, np.full_like(usual[:1], 250), np.full_like(usual[:1], 120)
    bright[:, 4:9, 4:9] = 0  # an over-exposed scene with one small black thing
    blurred = cv2.GaussianBlur(usual[2], (0, 0), 3.0)[None]
    found = judged(np.concatenate([dark, bright, flat, blurred]), usual)
    assert {kind: np.flatnonzero(flagged).tolist() for kind, flagged in found.items()} == {
        "dark": [0],
        "bright": [1],
        "flat": [2],
        "blurred": [3],
    }


def test_a_small_thing_on_a_plain_background_is_not_blurred() -> None:
    plain = np.full((1, 32, 32, 3), 200, dtype=np.uint8)
    plain[:, 14:17, 14:17] = 20
    assert not judged(plain, textured(300))["blurred"].any()


def test_what_is_improbable_but_not_half_as_sharp_is_not_blurred() -> None:
    # All within one per cent of each other: ten of these are far out, but as sharp as the others to any eye.
    edge = np.log(np.array([1.0, 0.9, 0.51, 0.49]))
    assert odd.is_blurred(edge, median=0.0, spread=0.01, blurred_z=3.5).tolist() == [False, False, False, True]
    assert not odd.is_blurred(edge, median=0.0, spread=0.5, blurred_z=3.5).any()


def test_what_cannot_be_judged_is_left_out() -> None:
    images = textured(4)
    assert set(judged(images, images)) == {"dark", "bright", "flat", "blurred"}
    ordinary = odd.usual(measured(images, 100.0), has_edges=False)
    assert set(odd.flags(measured(images), ordinary, PARAMS)) == {"dark", "bright", "flat", "odd size", "odd shape"}
    assert not odd.flags(measured(images), ordinary, PARAMS)["odd size"].any()  # nobody knows the size of these


def test_sizes_and_shapes_by_hand() -> None:
    ordinary = odd.Usual(edge=None, size=100.0, aspect=1.0)
    # 899 x 100 is a square of 300 pixels a side (rounded down) and 9 times as wide as high; 12 x 100 one of 35.
    wide, plain, thin, large = (measured(textured(1), width) for width in (899.0, 299.0, 12.0, 901.0))
    for found, expected in (
        (wide, [False, True]),
        (plain, [False, False]),
        (thin, [False, True]),
        (large, [True, True]),
    ):
        flags = odd.flags(found, ordinary, PARAMS)
        assert [bool(flags[kind][0]) for kind in ("odd size", "odd shape")] == expected


def test_the_oddest_come_first() -> None:
    ordinary = odd.Usual(edge=(0.0, 1.0), size=100.0, aspect=1.0)
    found = {
        "bright_parts": np.array([0.2, 0.1], dtype=np.float32),
        "dark_parts": np.array([0.2, 0.1], dtype=np.float32),
        "size": np.array([900.0, 10.0], dtype=np.float32),
        "aspect": np.array([4.0, 0.5], dtype=np.float32),
    }
    order = {kind: odd.severity(kind, found, ordinary).argmin() for kind in ("dark", "bright", "odd size", "odd shape")}
    assert order == {"dark": 1, "bright": 0, "odd size": 1, "odd shape": 0}
