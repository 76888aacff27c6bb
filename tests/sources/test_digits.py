from collections import Counter

import numpy as np
from sklearn.datasets import load_digits

from pipeline import sources
from pipeline.decoding import decode
from pipeline.images import pixel_hash


def test_all_1797_digits_with_120_of_each_to_test_on() -> None:
    files = list(sources.files("builtin:digits"))
    assert len(files) == 1797
    assert Counter(file.label for file in files if file.split == "test") == {str(digit): 120 for digit in range(10)}
    assert {file.split for file in files} == {"train", "test"}
    assert Counter(int(file.label) for file in files) == Counter(load_digits().target.tolist())


def test_pixels_are_scikit_learns_scaled_to_8_bits() -> None:
    images = {file.name.rpartition("/")[2]: decode(file.read()) for file in sources.files("builtin:digits")}
    # The first image's first row is 0 0 5 13 9 1 0 0, of 16: 5 * 255 / 16 = 79.7, 207.2, 143.4, 15.9.
    assert images["0000.png"][0].tolist() == [0, 0, 80, 207, 143, 16, 0, 0]
    expected = np.rint(load_digits().images * 255 / 16)
    np.testing.assert_array_equal(np.stack([images[f"{row:04d}.png"] for row in range(1797)]), expected)


def test_no_two_digits_are_alike() -> None:
    assert len({pixel_hash(decode(file.read())) for file in sources.files("builtin:digits")}) == 1797
