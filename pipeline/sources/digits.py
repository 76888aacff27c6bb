"""`builtin:digits`: the 1,797 real handwritten digits (8 x 8, UCI ML repository) that ship with scikit-learn.

They come with a test folder of 120 images a class: the first ones of a fixed permutation, whatever the seeds in
params.yaml say, so that nothing that is chosen while working on this data can ever be chosen on its test images.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from pipeline.dataset.schema import Split
from pipeline.images import encode_png
from pipeline.sources import SourceFile

TEST_IMAGES_PER_CLASS = 120


def accepts(source: str) -> bool:
    """True for `builtin:digits`."""
    return source == "builtin:digits"


def files(source: str) -> Iterator[SourceFile]:
    """All digits, named like files of an ImageFolder with `train` and `test` inside."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
    rng = np.random.RandomState(0)
    for digit in range(10):
        for place, row in enumerate(rng.permutation(np.flatnonzero(digits.target == digit))):
            split: Split = "test" if place < TEST_IMAGES_PER_CLASS else "train"
            name, read = f"{split}/{digit}/{row:04d}.png", partial(encode_png, images[row])
            identity = images[row].tobytes()
            yield SourceFile(name=name, label=str(digit), split=split, read=read, identity=identity)
