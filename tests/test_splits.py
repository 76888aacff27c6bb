import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.splits import SplitAssigner, long_tail_quota


def assigner(**changes: object) -> SplitAssigner:
    return SplitAssigner(**({"seed": 0, "val_fraction": 0.1, "test_fraction": 0.2} | changes))  # type: ignore[arg-type]


def counts(splits: dict[str, str]) -> tuple[int, int, int]:
    found = Counter(splits.values())
    return found["train"], found["val"], found["test"]


@pytest.mark.parametrize(
    ("images", "expected"),
    # test: round(0.2 n), from n = 3 on; val: round(0.1 n), from n = 5 on; halves go up
    [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (2, 0, 1)), (5, (3, 1, 1)), (10, (7, 1, 2)), (100, (70, 10, 20))],
)
def test_shares_by_hand(images: int, expected: tuple[int, int, int]) -> None:
    assert counts(assigner().assign("cat", [str(n) for n in range(images)])) == expected


@settings(derandomize=True, deadline=None, max_examples=50)
@given(
    images=st.integers(1, 200),
    val=st.floats(0, 0.49),
    test=st.floats(0, 0.49),
    cut=st.integers(0, 200),
    seed=st.integers(0, 5),
)
def test_later_batches_change_nothing_and_shares_hold(
    images: int, val: float, test: float, cut: int, seed: int
) -> None:
    keys = [f"{n}" for n in range(images)]
    first = assigner(seed=seed, val_fraction=val, test_fraction=test).assign("cat", keys[:cut])
    both = assigner(seed=seed, val_fraction=val, test_fraction=test)
    old, new = both.assign("cat", keys[:cut]), both.assign("cat", keys[cut:])
    assert old == first
    train, in_val, in_test = counts(old | new)
    assert train >= 1
    assert in_test <= math.floor(test * images + 0.5)
    assert in_val <= math.floor(val * images + 0.5)
    assert in_test >= math.floor(test * images + 0.5) - 1


def test_the_order_given_does_not_matter_the_seed_does() -> None:
    keys = [str(n) for n in range(40)]
    assert assigner().assign("cat", keys) == assigner().assign("cat", reversed(keys))
    assert assigner().assign("cat", keys) != assigner(seed=1).assign("cat", keys)


def test_each_class_is_counted_alone() -> None:
    alone = assigner().assign("dog", ["a", "b", "c"])
    after = assigner()
    after.assign("cat", [str(n) for n in range(9)])
    assert after.assign("dog", ["a", "b", "c"]) == alone


def test_what_the_source_fills_itself_gets_nothing_from_then_on() -> None:
    splits = assigner()
    assert counts(splits.assign("cat", [str(n) for n in range(10)])) == (7, 1, 2)
    splits.reserve({"train", "test", None})
    assert counts(splits.assign("cat", [str(n) for n in range(10, 20)])) == (9, 1, 0)
    splits.reserve({"val"})
    assert counts(splits.assign("cat", [str(n) for n in range(20, 30)])) == (10, 0, 0)


def test_what_a_quota_leaves_over_joins_val() -> None:
    splits = assigner(test_fraction=0.0, train_quota={"cat": 4, "dog": 50})
    assert counts(splits.assign("cat", [str(n) for n in range(20)])) == (4, 16, 0)
    assert counts(splits.assign("dog", [str(n) for n in range(20)])) == (18, 2, 0)


def test_long_tail_profile_by_hand() -> None:
    # 40 * 20^(-i / 9): 40, 28.68, 20.56, 14.74, 10.57, 7.57, 5.43, 3.89, 2.79, 2
    assert list(long_tail_quota("0123456789", 40, 20).values()) == [40, 29, 21, 15, 11, 8, 5, 4, 3, 2]
    assert long_tail_quota(["a", "b", "c"], 100, 100) == {"a": 100, "b": 10, "c": 1}
    assert long_tail_quota(["a", "b"], 3, 1000) == {"a": 3, "b": 1}
    assert long_tail_quota(["a"], 7, 20) == {"a": 7}
