import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset import Dataset, PixelStore, ShardWriter, make_row
from pipeline.dataset.cache import MAX_SIDE
from pipeline.errors import UserError
from tests.builders import picture, solid, write_dataset


def cached() -> list[Path]:
    return sorted(Path(os.environ["COUNTERWEIGHT_CACHE"]).iterdir())


def test_the_cache_equals_the_decoded_images(tiny_dataset: Dataset) -> None:
    store = PixelStore(tiny_dataset)
    decoded = np.stack([image.transpose(2, 0, 1) for image in tiny_dataset.images()])
    assert len(store) == 9
    assert store.image_shape == (3, 12, 12)
    np.testing.assert_array_equal(store.images(), decoded)
    np.testing.assert_array_equal(store.images([8, 0, 0, 4]), decoded[[8, 0, 0, 4]])
    np.testing.assert_array_equal(store.labels, [0] * 5 + [1] * 3 + [2])
    np.testing.assert_array_equal(store.weights, np.ones(9))


def test_the_cache_is_made_once_and_reused(tiny_dataset: Dataset) -> None:
    PixelStore(tiny_dataset)
    (file,) = cached()
    marked = np.load(file, mmap_mode="r+")
    marked[3] = 77
    marked.flush()
    again = PixelStore(Dataset.open(*tiny_dataset.folders))
    assert cached() == [file]
    assert (again.images([3]) == 77).all()
    assert not (again.images([2]) == 77).all()


def test_other_content_gets_a_cache_of_its_own(tmp_path: Path) -> None:
    small = Dataset.open(write_dataset(tmp_path / "small", {"cat": 2}))
    large = Dataset.open(write_dataset(tmp_path / "large", {"cat": 3}))
    assert len(PixelStore(small)) == 2
    assert len(PixelStore(large)) == 3
    assert len(cached()) == 2


def test_folders_are_joined_an_empty_one_among_them(tmp_path: Path) -> None:
    first = write_dataset(tmp_path / "first", {"cat": 2, "dog": 1})
    empty = write_dataset(tmp_path / "empty", {"cat": 0, "dog": 0})
    last = write_dataset(tmp_path / "last", {"cat": 0, "dog": 2}, weight=0.25)
    store = PixelStore(Dataset.open(first, empty, last))
    expected = [picture(0, 0), picture(0, 1), picture(1, 0), picture(1, 0), picture(1, 1)]
    for row in (0, 2, 3, 4):
        np.testing.assert_array_equal(store.images([row])[0], expected[row].transpose(2, 0, 1))
    assert store.labels.tolist() == [0, 0, 1, 1, 1]
    assert store.weights.tolist() == [1, 1, 1, 0.25, 0.25]
    assert len(PixelStore(Dataset.open(empty, last))) == 2


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, ("cat",)) as writer:
        writer.add(make_row(solid(9, 4, 6), 0, path="", origin="real"))
    assert PixelStore(Dataset.open(tmp_path)).images().shape == (1, 1, 4, 6)


def test_images_of_different_shapes_are_refused(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, ("cat",)) as writer:
        writer.add(make_row(solid(9, 4, 4), 0, path="", origin="real"))
        writer.add(make_row(solid(9, 4, 5), 0, path="", origin="real"))
    with pytest.raises(UserError, match=r"images differ in shape, \(1, 4, 5\) beside \(1, 4, 4\)"):
        PixelStore(Dataset.open(tmp_path))
    assert cached() == [], "half a cache must not be left"


def test_large_images_are_not_cached(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, ("cat",)) as writer:
        writer.add(make_row(solid(9, MAX_SIDE + 1, 8), 0, path="", origin="real"))
    with pytest.raises(UserError, match=f"images of {MAX_SIDE + 1} pixels a side; training takes at most {MAX_SIDE}"):
        PixelStore(Dataset.open(tmp_path))
