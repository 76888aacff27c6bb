"""Properties of images of a few pixels, worked out by hand."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.metrics.bias import properties


def grey(*rows: list[int]) -> npt.NDArray[np.uint8]:
    """One image, uint8 [1, H, W, 1]."""
    return np.array(rows, dtype=np.uint8)[None, ..., None]


def one(values: npt.NDArray[np.float32]) -> float:
    (value,) = values.tolist()
    return float(value)


def test_luma_weighs_the_colours() -> None:
    image = np.array([[[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]]], dtype=np.uint8)
    assert properties.grey(image)[0, 0] == pytest.approx([76.245, 149.685, 29.07, 255.0], abs=1e-3)
    assert properties.grey(grey([7, 9])).tolist() == [[[7.0, 9.0]]]


def test_brightness_and_contrast() -> None:
    luma = properties.grey(grey([0, 255], [255, 0]))
    assert one(properties.brightness(luma)) == 0.5
    assert one(properties.contrast(luma)) == 0.5
    luma = properties.grey(grey([51, 51], [51, 51]))
    assert (one(properties.brightness(luma)), one(properties.contrast(luma))) == (pytest.approx(0.2), 0.0)


def test_extremes_are_the_second_darkest_and_brightest_of_21() -> None:
    dark, bright = properties.extremes(properties.grey(grey(list(range(20, -1, -1)))))
    assert (one(dark), one(bright)) == (pytest.approx(1 / 255), pytest.approx(19 / 255))


def test_sharpness_is_the_variance_of_the_laplacian_inside() -> None:
    # Inside are two pixels: -4 * 10 at the bright one, 10 beside it; mean -15, deviations 25.
    luma = properties.grey(grey([0, 0, 0, 0], [0, 10, 0, 0], [0, 0, 0, 0]))
    assert one(properties.sharpness(luma)) == 625.0
    assert one(properties.edge(luma)) == pytest.approx(40 / 11)


def test_a_plain_slope_is_not_sharp_and_neither_is_an_image_without_an_inside() -> None:
    slope = properties.grey(grey([0, 5, 10, 15], [0, 5, 10, 15], [0, 5, 10, 15], [0, 5, 10, 15]))
    assert (one(properties.sharpness(slope)), one(properties.edge(slope))) == (0.0, 0.0)
    tiny = properties.grey(grey([0, 255], [255, 0]))
    assert (one(properties.sharpness(tiny)), one(properties.edge(tiny))) == (0.0, 0.0)


def test_plain_background_lowers_the_variance_but_not_the_edge() -> None:
    def with_bar(width: int) -> npt.NDArray[np.float32]:
        image = np.full((1, 16, width, 1), 40, dtype=np.uint8)
        image[:, :, 7] = 200
        return properties.grey(image)

    assert one(properties.sharpness(with_bar(64))) < one(properties.sharpness(with_bar(16))) / 2
    assert one(properties.edge(with_bar(64))) == one(properties.edge(with_bar(16)))


def test_colourfulness() -> None:
    # Red and green: r - g is ±255 (mean 0, spread 255), (r + g) / 2 - b is 127.5 in both: 255 + 0.3 * 127.5.
    image = np.array([[[[255, 0, 0], [0, 255, 0]]]], dtype=np.uint8)
    assert one(properties.colourfulness(image)) == pytest.approx(293.25)
    assert one(properties.colourfulness(np.full((1, 2, 2, 3), 90, dtype=np.uint8))) == 0.0
    assert one(properties.colourfulness(grey([0, 255]))) == 0.0


def test_mean_colour_and_border() -> None:
    image = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    image[:, 1:3, 1:3] = (255, 51, 0)
    assert properties.mean_colour(image)[0] == pytest.approx([0.25, 0.05, 0.0])
    assert properties.border(image).shape == (1, 12, 3)
    assert properties.border(image).max() == 0
    assert properties.border(np.zeros((1, 32, 48, 1), np.uint8)).shape == (1, 32 * 48 - 28 * 44, 1)  # two pixels wide


def test_size_and_aspect_at_the_source() -> None:
    width, height = np.array([100, np.nan], dtype=np.float32), np.array([25, np.nan], dtype=np.float32)
    assert properties.size(width, height)[0] == 50.0
    assert properties.aspect(width, height)[0] == 4.0
    assert np.isnan(properties.size(width, height)[1])


def test_all_properties_of_a_batch_by_name() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 6, 3), dtype=np.uint8)
    found = properties.measure(images)
    assert set(found) > {"brightness", "edge", "mean_red", "border_blue", "border_spread"}
    assert all(values.shape == (5,) and values.dtype == np.float32 for values in found.values())
    alone = properties.measure(images[2:3])
    assert all(np.array_equal(values[2:3], alone[name]) for name, values in found.items())
    assert {"mean_grey", "border_grey"} <= set(properties.measure(images[..., :1]))
    assert found["border_green"][0] == pytest.approx(properties.border(images)[0, :, 1].mean() / 255)
