import json
from pathlib import Path

import pytest

from pipeline import plan
from pipeline.errors import UserError
from pipeline.plan import ClassPlan


def made(counts: list[int], **changes: float) -> list[tuple[int, int]]:
    settings = {"target": 1.0, "augment_share": 0.5, "max_augment": 20, "max_synthesize": 20} | changes
    planned = plan.make({str(n): count for n, count in enumerate(counts)}, **settings)
    assert [entry.real for entry in planned.values()] == counts
    return [(entry.augment, entry.synthesize) for entry in planned.values()]


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


def test_a_plan_is_read_back_and_damage_is_said(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"größe M": {"real": 3, "augment": 2, "synthesize": 1}}), encoding="utf-8")
    assert plan.read(path) == {"größe M": ClassPlan(3, 2, 1)}
    for damaged in ("", "[]", '{"cat": {"real": 3}}', '{"cat": 3}'):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match=r"plan\.json: is no plan .*; the stage analyze_bias writes it"):
            plan.read(path)
    with pytest.raises(UserError, match=r"nowhere\.json: is no plan"):
        plan.read(tmp_path / "nowhere.json")
