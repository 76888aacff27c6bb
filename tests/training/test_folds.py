from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset import Dataset, ShardWriter, make_row
from pipeline.training.folds import assign_folds, folds_of

LABELS = np.repeat([0, 1, 2, 3], [40, 10, 3, 1])


@pytest.mark.parametrize("num_folds", [2, 4, 7])
def test_each_class_is_dealt_out_evenly(num_folds: int) -> None:
    folds = assign_folds(LABELS, num_folds, seed=0)
    assert folds.shape == LABELS.shape
    for label in range(4):
        counts = np.bincount(folds[label == LABELS], minlength=num_folds)
        assert len(counts) == num_folds
        assert counts.max() - counts.min() <= 1


def test_single_images_of_several_classes_go_to_different_folds() -> None:
    assert len(set(assign_folds(np.arange(4), 4, seed=0))) == 4


def test_the_same_seed_gives_the_same_folds_and_another_others() -> None:
    folds = assign_folds(LABELS, 4, seed=0)
    np.testing.assert_array_equal(folds, assign_folds(LABELS, 4, seed=0))
    assert (folds != assign_folds(LABELS, 4, seed=1)).any()


def test_groups_stay_together_and_classes_are_still_dealt_out_evenly() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 30])
    groups = np.concatenate([rng.integers(1, 21, 60), rng.integers(15, 31, 30)])  # 15 to 20 have images of both
    groups[::9] = 0
    folds = assign_folds(labels, 3, seed=0, groups=groups)
    assert set(folds) == {0, 1, 2}
    for group in set(groups) - {0}:
        assert len(set(folds[groups == group])) == 1
    counts = np.bincount(folds[labels == 0])
    assert counts.max() - counts.min() <= 1  # single images make up for what groups leave uneven


def test_fewer_groups_than_folds_are_parted_so_that_no_fold_lacks_the_class() -> None:
    labels, sites = np.repeat([0, 1], [12, 8]), np.tile([1, 2], 10)
    np.testing.assert_array_equal(assign_folds(labels, 4, seed=0, groups=sites), assign_folds(labels, 4, seed=0))


def test_without_groups_nothing_is_kept_together() -> None:
    none = np.zeros_like(LABELS)
    np.testing.assert_array_equal(assign_folds(LABELS, 4, 0, none), assign_folds(LABELS, 4, 0))


def test_a_data_set_s_groups_are_kept_together(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    (tmp_path / "data").mkdir()
    with ShardWriter(tmp_path / "data", ("a", "b")) as writer:
        for number, image in enumerate(pixels):
            writer.add(make_row(image, number % 2, path="", origin="real", group=f"patient {number // 4}"))
    folds = folds_of(Dataset.open(tmp_path / "data"), 3, seed=0).reshape(6, 4)
    assert (folds == folds[:, :1]).all()
    assert np.bincount(folds[:, 0]).tolist() == [2, 2, 2]
