"""No look is lost on its way through a run, and none changes its number."""

import json
from pathlib import Path

from plugins import looks
from plugins.lock import Lock


def split(images: str, *found: str, number: int = 1) -> dict[str, object]:
    return {"number": number, "images": images, "looks": list(found)}


def lock(*splits: dict[str, object]) -> Lock:
    return {
        "make": {"params": {"params.yaml": {"make": 1}}},
        "judge": {"params": {"looks.json": {"test_splits": splits}}},
    }


def test_looks_of_both_with_those_of_the_lock_first() -> None:
    known, held = [split("a b c", "one", "two")], [split("a b c", "two", "three")]
    assert looks.merge(known, held) == [split("a b c", "one", "two", "three")]
    assert looks.merge(looks.merge(known, held), held) == looks.merge(known, held)
    assert known == [split("a b c", "one", "two")]  # as it was


def test_a_split_is_known_again_by_half_of_its_images_and_its_number() -> None:
    grown, others, renewed = split("a b x y", "two"), split("a x y z", "two"), split("a b c d", "two", number=2)
    first = split("a b c d", "one")
    assert looks.merge([first], [grown]) == [split("a b c d", "one", "two")]
    assert looks.merge([first], [others, renewed]) == [first, others, renewed]


def test_the_file_is_what_the_lock_and_the_checkout_know(tmp_path: Path) -> None:
    path = tmp_path / "looks.json"
    looks.lay_over(tmp_path, {})
    assert not path.exists()
    path.write_text(json.dumps({"test_splits": [split("a", "mine")]}), encoding="utf-8")
    looks.lay_over(tmp_path, {"make": {"outs": []}})  # a lock from before there were looks
    assert json.loads(path.read_text(encoding="utf-8")) == {"test_splits": [split("a", "mine")]}
    for _ in range(2):
        looks.lay_over(tmp_path, lock(split("a", "night")))
        assert json.loads(path.read_text(encoding="utf-8")) == {"test_splits": [split("a", "night", "mine")]}
