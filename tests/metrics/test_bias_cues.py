import numpy as np
import numpy.typing as npt
import pytest

from pipeline.metrics.bias import cues

Ints = npt.NDArray[np.int64]


def ints(*values: int) -> Ints:
    return np.array(values, dtype=np.int64)


def test_neighbours_vote_without_the_image_itself() -> None:
    guess = cues.by_neighbours(np.array([[0.0], [1], [2], [10], [11], [12]]))
    # The first has the next three beside it: two of the two other 0s against one of the three 1s; the last likewise.
    assert guess(ints(0, 0, 0, 1, 1, 1))[[0, 5]].tolist() == [0, 1]
    # Now the first is a 1 itself: two of two 0s against one of three other 1s.
    assert guess(ints(1, 0, 0, 1, 1, 1))[0] == 0


def test_the_image_itself_does_not_count_among_its_class() -> None:
    # The first is one of two 1s: beside it lie the one other 1 and two of three 0s.
    assert cues.by_neighbours(np.arange(5.0)[:, None])(ints(1, 1, 0, 0, 0))[0] == 1


def test_a_vote_counts_by_the_rarity_of_its_class() -> None:
    values = np.arange(12.0)[:, None]
    labels = ints(1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0)
    # Near the first: 0, 0 and the 1 at the fourth place, two of ten 0s against the one other 1. At the end: 0s only.
    assert cues.by_neighbours(values)(labels)[[0, 11]].tolist() == [1, 0]


def test_the_scale_of_a_property_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    expected = cues.by_neighbours(values)(labels)
    assert cues.by_neighbours(np.exp(values) * [1e-3, 1e6])(labels).tolist() == expected.tolist()


def test_categories_by_hand() -> None:
    # The first category has 4 of 8 zeros and both ones. For a zero: 3 of the 7 other zeros, 2 of 2 ones.
    # For a one: the 1 other one of 1, 4 of 8 zeros. In the second category are zeros only.
    categories, labels = ints(0, 0, 0, 0, 0, 0, 1, 1, 1, 1), ints(0, 0, 0, 0, 1, 1, 0, 0, 0, 0)
    assert cues.by_category(categories)(labels).tolist() == [1, 1, 1, 1, 1, 1, 0, 0, 0, 0]


def test_a_category_of_its_own_says_nothing() -> None:
    assert cues.by_category(ints(0, 1, 2, 2))(ints(0, 1, 1, 1)).tolist() == [-1, -1, 1, 1]


def test_one_category_for_all_gives_chance() -> None:
    labels = np.repeat(np.arange(4), [5, 3, 9, 2])
    guessed = cues.by_category(np.zeros(19, dtype=np.int64))(labels)
    assert cues.accuracies(guessed, labels, 4)[0] == pytest.approx(0)


def test_categories_agree_with_counting_one_by_one() -> None:
    rng = np.random.default_rng(1)
    categories, labels = rng.integers(0, 9, 80), np.concatenate([np.arange(5), rng.integers(0, 5, 75)])
    expected = []
    for row in range(80):
        others = np.arange(80) != row
        sizes = np.bincount(labels[others], minlength=5)
        same = np.bincount(labels[others & (categories == categories[row])], minlength=5)
        expected.append(int(np.argmax(same / np.maximum(sizes, 1))) if same.any() else -1)
    assert cues.by_category(categories)(labels).tolist() == expected


def test_accuracies_by_hand() -> None:
    # Recall 1/2 and 1: 3/4, half-way between chance and 1. Half of the 0s are taken for 1s, no 1 for a 0.
    assert cues.accuracies(ints(0, 1, 1, 1), ints(0, 0, 1, 1), 2).tolist() == [0.5, 0.5, 0.5]
    # No guess is a mistake, and takes the image for no other class.
    assert cues.accuracies(ints(-1, 0, 1, -1), ints(0, 0, 1, 1), 2).tolist() == [0.0, 0.5, 0.5]


@pytest.mark.parametrize("seed", range(5))
def test_a_property_that_tells_one_class_of_many_is_found_for_that_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(8), 25))
    values = rng.normal(size=(200, 2)) + 8.0 * (labels == 3)[:, None]
    found = cues.test(
        {"noise": cues.by_neighbours(rng.normal(size=(200, 2))), "told": cues.by_neighbours(values)}, labels, 99, 0
    )
    assert found["told"].class_effect[3] > 0.9
    assert found["told"].class_p[3] == 0.01
    assert np.delete(found["told"].class_p, 3).min() > 0.01
    assert found["noise"].p > 0.01
    assert found["noise"].class_p.min() > 0.01


def test_noise_is_rarely_significant() -> None:
    rng = np.random.default_rng(0)
    smallest = []
    for seed in range(40):
        labels = rng.permutation(np.repeat(np.arange(4), [30, 20, 10, 5]))
        guesses = {name: cues.by_neighbours(rng.normal(size=(65, 2))) for name in "ab"}
        found = cues.test(guesses, labels, 39, seed)
        smallest.append(min(min(cue.p, cue.class_p.min()) for cue in found.values()))
    assert np.mean(np.array(smallest) <= 0.05) <= 0.15


def test_equal_seeds_give_equal_p_values() -> None:
    labels = np.repeat(np.arange(3), 10)
    guesses = {"a": cues.by_neighbours(np.random.default_rng(0).normal(size=(30, 1)))}
    first, second = (cues.test(guesses, labels, 49, 7)["a"] for _ in range(2))
    assert (first.p, first.class_p.tolist()) == (second.p, second.class_p.tolist())
