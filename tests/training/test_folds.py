import numpy as np
import pytest

from pipeline.training.folds import assign_folds

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
