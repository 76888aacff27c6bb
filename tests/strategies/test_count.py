import numpy as np

from pipeline.metrics.bias.learning_curve import Curves
from pipeline.strategies import Limits, Situation, count


def made(
    counts: list[int], toward: str = "even", reference: list[float] | None = None, **changes: float
) -> list[tuple[int, int]]:
    settings = {"target": 1.0, "augment_share": 0.5, "max_augment": 20, "max_synthesize": 20} | changes
    given = None if reference is None else np.array(reference)
    situation = Situation(np.array(counts), given, Curves(np.ones(len(counts)), np.ones(len(counts))), worth=1.0)
    augment, synthesize = count.plan(situation, Limits(**settings), count.Params(toward=toward))
    return list(zip(augment.tolist(), synthesize.tolist(), strict=True))


def test_shortages_are_shared_by_hand() -> None:
    # Short of 40: 0, 11, 30, 38; halves 5.5, 15 and 19, of which 5.5 rounds to the even 6.
    assert made([40, 29, 10, 2]) == [(0, 0), (6, 5), (15, 15), (19, 19)]
    assert made([40, 30], augment_share=0.0) == [(0, 0), (0, 10)]
    assert made([40, 30], augment_share=1.0) == [(0, 0), (10, 0)]


def test_target_is_in_sizes_of_the_largest_class() -> None:
    assert made([10, 4], target=2.0) == [(5, 5), (8, 8)]
    assert made([10, 4], target=0.5) == [(0, 0), (0, 1)]  # a half rounds to the even 0
    assert made([10, 4], target=0.0) == [(0, 0), (0, 0)]


def test_no_class_gets_more_than_the_multiple_of_its_real_images() -> None:
    assert made([100, 2], max_augment=3, max_synthesize=5) == [(0, 0), (6, 10)]
    # What may not be augmented is synthesised.
    assert made([100, 20], max_augment=1, max_synthesize=20) == [(0, 0), (20, 60)]
    assert made([100, 1], max_augment=1.5, max_synthesize=0) == [(0, 0), (1, 0)]


def test_towards_a_reference_by_hand() -> None:
    # 30 for a share of 1/4 is the best supply, 120 in all: 60, 30 and 30 are due.
    assert made([40, 30, 10], "reference", [0.5, 0.25, 0.25]) == [(10, 10), (0, 0), (10, 10)]
    # An even reference is what even means.
    assert made([40, 30, 10], "reference", [1 / 3, 1 / 3, 1 / 3]) == made([40, 30, 10])
    # A class that reality lacks is due none, and is no supply.
    assert made([40, 30, 10], "reference", [0.0, 0.5, 0.5]) == [(0, 0), (0, 0), (10, 10)]
