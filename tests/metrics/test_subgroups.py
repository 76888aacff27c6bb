"""Groups that the source names: which are judged, and how well."""

import numpy as np
import pytest

from pipeline.metrics import subgroups


def test_accuracy_of_the_groups_with_enough_images_by_hand() -> None:
    found = subgroups.find_groups(["b", "a", "a", None, "b", "a", "c"], min_images=2)
    assert found.names == ("a", "b", "c")
    assert found.judged.tolist() == [0, 1]
    labels = np.array([0, 0, 1, 1, 1, 0, 0])
    predictions = np.array([[0, 0, 1, 1, 0, 1, 0], [1, 0, 1, 0, 0, 0, 0]])
    assert subgroups.group_accuracy(found, labels, predictions) == pytest.approx(np.array([[2 / 3, 1 / 2], [1.0, 0.0]]))


def test_without_groups_there_is_nothing_to_judge() -> None:
    found = subgroups.find_groups([None, None], min_images=1)
    assert found.names == ()
    assert subgroups.group_accuracy(found, np.zeros(2), np.zeros((3, 2))).shape == (3, 0)


def test_many_groups_are_told_by_their_spread() -> None:
    patients = [f"patient {number}" for number in range(21) for _ in range(2)]
    assert not subgroups.find_groups(patients, min_images=2).named
    assert subgroups.find_groups(patients[:40], min_images=2).named
    assert subgroups.find_groups(patients, min_images=3).judged.tolist() == []
