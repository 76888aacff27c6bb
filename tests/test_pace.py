import pytest

from pipeline import pace
from pipeline.dataset.cache import cache_folder


def test_the_newest_pace_of_each_kind_of_work_is_kept() -> None:
    assert pace.seconds_for("augment", 100) is None
    pace.record("augment", 50, 5.0)
    pace.record("synthesize", 3, 1.5)
    pace.record("augment", 200, 10.0)
    assert pace.seconds_for("augment", 100) == pytest.approx(5.0)
    assert pace.seconds_for("synthesize", 4) == pytest.approx(2.0)
    assert pace.seconds_for("paint", 4) is None
    assert pace.seconds_for("paint", 0) == 0.0


def test_what_took_no_time_says_nothing() -> None:
    pace.record("augment", 0, 5.0)
    pace.record("augment", 9, 0.001)
    assert pace.seconds_for("augment", 1) is None
    assert not (cache_folder() / "pace.json").exists()


@pytest.mark.parametrize("content", ["", "[1]", '{"augment": "fast"}', '{"augment": null}', '{"augment": -1}'])
def test_a_damaged_file_is_as_good_as_none(content: str) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    (cache_folder() / "pace.json").write_text(content, encoding="utf-8")
    assert pace.seconds_for("augment", 1) is None
    pace.record("augment", 10, 1.0)
    assert pace.seconds_for("augment", 10) == pytest.approx(1.0)
