"""Looks are counted, spend what they may, and are known again."""

import json
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.metrics import looks
from pipeline.metrics.looks import Look

IMAGES = looks.known_by([f"cat/{number}.png" for number in range(200)])
OTHERS = looks.known_by([f"dog/{number}.png" for number in range(200)])


def test_what_a_look_may_spend_by_hand() -> None:
    assert [Look(number, 0.06).alpha for number in (1, 2, 3)] == pytest.approx([0.03, 0.01, 0.005])
    assert [Look(number, 0.06).spent for number in (1, 2, 3)] == pytest.approx([0.03, 0.04, 0.045])


def test_all_looks_together_spend_the_budget_and_no_more() -> None:
    spent = 0.0
    for number in range(1, 5001):
        spent += Look(number, 0.05).alpha
        assert spent == pytest.approx(Look(number, 0.05).spent)
    assert 0.0499 < spent < 0.05


def test_every_new_look_has_the_next_number_and_an_old_one_its_own() -> None:
    ledger: tuple[looks.TestSplit, ...] = ()
    for fingerprint, number in (("a", 1), ("b", 2), ("a", 1), ("c", 3), ("b", 2)):
        before = ledger
        ledger, look = looks.take(ledger, 1, IMAGES, fingerprint, 0.05)
        assert look.number == number
        assert looks.take(ledger, 1, IMAGES, fingerprint, 0.05) == (ledger, look)  # the same again changes nothing
        assert (ledger == before) == (fingerprint in {f for split in before for f in split.looks})


def test_other_test_images_or_another_number_begin_a_new_count() -> None:
    ledger, _ = looks.take((), 1, IMAGES, "a", 0.05)
    ledger, second = looks.take(ledger, 1, IMAGES, "b", 0.05)
    ledger, other = looks.take(ledger, 1, OTHERS, "c", 0.05)
    ledger, renewed = looks.take(ledger, 2, IMAGES, "d", 0.05)
    assert (second.number, other.number, renewed.number) == (2, 1, 1)
    assert looks.take(ledger, 1, IMAGES, "e", 0.05)[1].number == 3  # nothing is forgotten


def test_a_split_that_grew_or_lost_some_images_is_still_the_same() -> None:
    ledger, _ = looks.take((), 1, IMAGES, "a", 0.05)
    assert looks.take(ledger, 1, IMAGES | OTHERS, "b", 0.05)[1].number == 2
    kept = [*ledger[0].images]
    assert looks.take(ledger, 1, frozenset(kept[: len(kept) // 2]), "b", 0.05)[1].number == 2
    assert looks.take(ledger, 1, frozenset(kept[: len(kept) // 2 - 1]), "b", 0.05)[1].number == 1


def test_the_ledger_comes_back_as_it_was_written(tmp_path: Path) -> None:
    ledger, _ = looks.take((), 1, IMAGES, "a", 0.05)
    ledger, _ = looks.take(ledger, 1, OTHERS, "b", 0.05)
    path = tmp_path / "looks.json"
    assert looks.read(path) == ()
    path.write_text(json.dumps(looks.to_json(ledger)), encoding="utf-8")
    assert looks.read(path) == ledger
    assert all(len(split.images) == looks.SAMPLE for split in ledger)


@pytest.mark.parametrize("text", ["", "[]", '{"test_splits": [{"number": 1}]}', '{"test_splits": 3}'])
def test_a_damaged_ledger_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "looks.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(
        UserError, match=r"looks\.json: is no ledger of looks .*; take the last good one from git"
    ) as told:
        looks.read(path)
    assert "\n" not in str(told.value)


def test_a_fingerprint_is_of_the_parts_and_their_bounds() -> None:
    assert looks.fingerprint([b"ab", b"c"]) == looks.fingerprint([b"ab", b"c"]) != looks.fingerprint([b"a", b"bc"])


@pytest.mark.parametrize(
    ("alpha", "text"),
    [(0.05, "95 %"), (0.025, "97.5 %"), (0.05 / 6, "99.17 %"), (0.05 / 3660, "99.9986 %"), (0.5, "50 %")],
)
def test_a_level_is_never_told_as_a_hundred_per_cent(alpha: float, text: str) -> None:
    assert looks.level_text(alpha) == text
