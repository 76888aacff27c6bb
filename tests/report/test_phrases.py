"""Where the terminal's text is broken, by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.phrases import filled, phrases

REASON = (
    "SHIP: Completed beats both baselines: +40.0 points over cross-entropy [26.0, 55.0], +35.0 over Balanced Softmax "
    "[21.1, 50.0] (97.5 % intervals at look 1); no class is shown to lose more than 5 points."
)
NARROW = """\
SHIP: Completed beats both baselines:
  +40.0 points over cross-entropy [26.0, 55.0],
  +35.0 over Balanced Softmax [21.1, 50.0] (97.5 % intervals at look 1);
  no class is shown to lose more than 5 points."""
WIDE = """\
SHIP: Completed beats both baselines: +40.0 points over cross-entropy [26.0, 55.0],
  +35.0 over Balanced Softmax [21.1, 50.0] (97.5 % intervals at look 1); \
no class is shown to lose more than 5 points."""


@pytest.mark.parametrize(("width", "lines"), [(80, NARROW), (120, WIDE), (1000, REASON)])
def test_lines_end_where_phrases_end(width: int, lines: str) -> None:
    assert filled(REASON, width) == lines


def test_brackets_stay_whole_and_a_point_within_a_number_ends_nothing() -> None:
    told = "2 classes: 'a' (-1.5 against x [-2, -1]), 'b' (-3). Cannot be judged"
    assert filled("名前, 名前, b", 8) == "名前,\n  名前,\n  b"  # two columns a letter
    assert phrases(told) == ["2 classes:", "'a' (-1.5 against x [-2, -1]),", "'b' (-3).", "Cannot be judged"]


def test_a_phrase_that_is_longer_than_a_line_is_broken_before_brackets_or_between_words() -> None:
    assert filled("one two (three), x (a b)", 12) == "one two\n  (three),\n  x (a b)"
    assert filled("one two three four five, six", 12) == "one two\n  three four\n  five, six"


@given(st.text("ab ,:;.()[]", min_size=1), st.integers(8, 40))
def test_no_word_is_lost_and_no_line_too_long(text: str, width: int) -> None:
    lines = filled(text, width).split("\n")
    assert "".join("".join(lines).split()) == "".join(text.split())
    assert all(len(line) <= width for line in lines)
