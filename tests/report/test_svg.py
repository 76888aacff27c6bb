"""Scales and marks by hand; text that goes into a drawing is escaped."""

import re

import pytest

from pipeline.report import svg


def test_nice_steps() -> None:
    assert [svg.nice_step(span, 5) for span in (1.0, 0.3, 7.0, 40.0)] == [0.2, 0.1, 2.0, 10.0]


def test_scale_holds_all_values_between_round_ones() -> None:
    scale = svg.scale_over([0.712, 1.0])
    assert (scale.low, scale.high) == pytest.approx((0.7, 1.0))
    assert scale.ticks() == [0.7, 0.8, 0.9, 1.0]
    assert [scale(0.7), scale(0.85), scale(1.0)] == [2.0, 50.0, 98.0]
    assert scale(2.0) == 98.0
    equal = svg.scale_over([0.5, 0.5])
    assert equal.low < 0.5 < equal.high


def test_interval_with_zero_line() -> None:
    drawn = svg.intervals(svg.Scale(-1, 1), [svg.Mark("completed", 0.5, 0.0, 1.0)], zero=True)
    assert 'class="zero" x1="50.0%"' in drawn
    assert '<line x1="50.0%" x2="98.0%"' in drawn
    assert 'cx="74.0%"' in drawn


def test_bar_parts_follow_each_other() -> None:
    drawn = svg.bar([("real", 2), ("augmented", 0), ("synthetic", 6)], top=10)
    assert re.findall(r'class="fill (\w+)" x="([\d.]+)%" y="0" width="([\d.]+)%"', drawn) == [
        ("real", "0.0", "20.0"),
        ("synthetic", "20.0", "60.0"),
    ]


def test_curves_over_decades_go_by_logarithm() -> None:
    drawn = svg.lines([("completed", [(0.0, 100.0), (10.0, 0.1)])], height=120)
    assert 'points="2,18 98,118"' in drawn
    assert ">100</text>" in drawn
    assert ">0.1</text>" in drawn
    assert ">−2</text>" in svg.lines([("completed", [(0.0, -2.0), (10.0, 3.0)])])


def test_names_are_escaped() -> None:
    for drawn in (
        svg.columns([('<b>&"', [("real", 1.0)])], top=1.0),
        svg.upright_intervals(svg.Scale(0, 1), [('<b>&"', [])]),
    ):
        assert "&lt;b&gt;&amp;&#34;" in drawn
        assert "<b>" not in drawn
