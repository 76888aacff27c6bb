"""Spurious correlation: how well the label can be told from something that is not what the image shows.

Each image's label is guessed from the other images that are most like it in that one respect (leave-one-out), and the
guesses are compared with those for permuted labels.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.spatial import cKDTree
from scipy.stats import rankdata

from pipeline.metrics.bias.significance import permutation_p
from pipeline.params import section

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Guess = Callable[[Ints], Ints]
"""Labels [n] -> label guessed for each image from the others; -1 where none is like it."""


@section
class Params:
    """Section `analyze_bias.cues`.

    Attributes:
        max_images: images that are looked at, evenly over the classes.
        permutations: of the labels; the smallest p-value is 1 / (permutations + 1).
        min_class_images: smaller classes are left out.
    """

    max_images: Annotated[int, Field(ge=20)]
    permutations: Annotated[int, Field(ge=19)]
    min_class_images: Annotated[int, Field(ge=2)]


@dataclass(frozen=True)
class Cue:
    """How much a property gives away.

    Attributes:
        effect: balanced accuracy over chance, 0 (chance, or below) to 1.
        p: of the effect.
        class_effect: share of a class that is recognised, less the share of the others taken for it, [C].
        class_p: [C]; all p-values hold for all cues and classes together.
    """

    effect: float
    p: float
    class_effect: Floats
    class_p: Floats


def by_neighbours(values: Floats, max_neighbours: int = 15) -> Guess:
    """Guesses from the nearest images by ranks of `values`, [n, d]; a vote counts by the rarity of its class."""
    num_rows = len(values)
    num_neighbours = min(max_neighbours, max(3, int(num_rows**0.5) // 2), num_rows - 1)
    points = rankdata(values, axis=0) / num_rows
    found = cKDTree(points).query(points, k=num_neighbours + 1)[1]
    own = found == np.arange(num_rows)[:, None]
    own[~own.any(axis=1), -1] = True  # of more equal points than are asked for, the point itself may be missing
    neighbours = found[~own].reshape(num_rows, num_neighbours)

    def guess(labels: Ints) -> Ints:
        near = labels[neighbours]
        votes = (near[:, :, None] == near[:, None, :]).sum(axis=2)
        counts = np.bincount(labels)[near] - (near == labels[:, None])
        best = np.argmax(votes / np.maximum(counts, 1), axis=1)
        guessed: Ints = near[np.arange(num_rows), best]
        return guessed

    return guess


def by_category(categories: Ints) -> Guess:
    """Guesses the class that the other images of the same category, int [n], are most often of, for its size."""

    def guess(labels: Ints) -> Ints:
        num_classes = int(labels.max()) + 1
        sizes = np.bincount(labels)
        cells, cell, count = np.unique(categories * num_classes + labels, return_inverse=True, return_counts=True)
        place, label = np.divmod(cells, num_classes)
        rate = count / sizes[label]
        ranked = np.lexsort((label, -rate, place))
        first = ranked[np.searchsorted(place[ranked], place)]  # of each cell's category: the most frequent class
        after = np.searchsorted(place[ranked], place) + 1
        follows = after < np.searchsorted(place[ranked], place, side="right")
        second = np.where(follows, ranked[np.minimum(after, len(ranked) - 1)], -1)
        rival = np.where(first != np.arange(len(cells)), first, second)
        own_rate = (count - 1) / np.maximum(sizes[label] - 1, 1)  # without the image itself
        rival_rate = np.where(rival >= 0, rate[rival], 0.0)
        wins = (own_rate > rival_rate) | ((own_rate == rival_rate) & (label < label[rival]))
        guessed = np.where(wins, label, np.where(rival >= 0, label[rival], -1))
        return np.where((count == 1) & (rival < 0), -1, guessed)[cell]

    return guess


def accuracies(guessed: Ints, labels: Ints, num_classes: int) -> Floats:
    """[1 + C]: balanced accuracy over chance; each class's recall less the others' mean rate of being taken for it.

    Every class must have an image.
    """
    sizes, right = np.bincount(labels, minlength=num_classes), guessed == labels
    recall = np.bincount(labels[right], minlength=num_classes) / sizes
    wrong = ~right & (guessed >= 0)
    taken_for = np.bincount(guessed[wrong], 1 / sizes[labels[wrong]], minlength=num_classes) / (num_classes - 1)
    chance = 1 / num_classes
    return np.concatenate([[(recall.mean() - chance) / (1 - chance)], recall - taken_for])


def test(guesses: Mapping[str, Guess], labels: Ints, permutations: int, seed: int) -> dict[str, Cue]:
    """Measures all cues; labels [n] must run from 0 to C - 1, C at least 2, none missing."""
    num_classes = int(labels.max()) + 1
    rng = np.random.default_rng(seed)

    def all_cues(given: Ints) -> Floats:
        return np.concatenate([accuracies(guess(given), given, num_classes) for guess in guesses.values()])

    observed = all_cues(labels)
    null = np.stack([all_cues(rng.permutation(labels)) for _ in range(permutations)])
    p = permutation_p(observed, null).reshape(len(guesses), -1)
    found = observed.reshape(len(guesses), -1)
    return {
        name: Cue(max(0.0, float(effect[0])), float(p_values[0]), effect[1:], p_values[1:])
        for name, effect, p_values in zip(guesses, found, p, strict=True)
    }
