from collections import Counter
from itertools import islice

import numpy as np

from pipeline import sources
from pipeline.decoding import decode
from pipeline.sources.glyphs import SIDE


def test_4000_glyphs_400_of_each_digit() -> None:
    files = list(sources.files("builtin:glyphs"))
    assert Counter(file.label for file in files) == {str(digit): 400 for digit in range(10)}
    assert {file.split for file in files} == {None}


def test_glyphs_are_bright_on_dark_and_all_different() -> None:
    images = np.stack([decode(file.read()) for file in islice(sources.files("builtin:glyphs"), 300)])
    assert images.shape == (300, SIDE, SIDE)
    assert (images.max(axis=(1, 2)) > 127).all()
    assert images[:, :, [0, -1]].mean() < 64 < images[:, 2:-2, 2:-2].mean()
    assert len(np.unique(images.reshape(300, -1), axis=0)) == 300


def test_a_glyph_depends_on_its_number_alone() -> None:
    in_order = {file.name: file.read() for file in islice(sources.files("builtin:glyphs"), 30)}
    backwards = {file.name: file.read() for file in reversed(list(islice(sources.files("builtin:glyphs"), 30)))}
    assert in_order == backwards
