"""Figures as people read them."""

from pipeline.report import format as form


def test_figures() -> None:
    assert form.percent(0.95375) == "95.4"
    assert form.percent_interval([0.5, 1.0]) == "50.0–100.0"
    assert [form.points(share) for share in (0.0107, -0.0056, 0.0004, 0.0)] == ["+1.1", "−0.6", "+0.04", "0.0"]
    assert form.points_interval([-0.0056, 0.01]) == "−0.6 to +1.0"
    assert form.count(1234567) == "1,234,567"
    assert [form.number(value) for value in (20.0, 0.8463, float("inf"), 0.0)] == ["20", "0.846", "∞", "0"]
    assert form.some(list("abc"), most=2) == "a, b and 1 more"
    assert [form.ordinal(n) for n in (1, 2, 3, 4, 11, 12, 13, 21, 112)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "112th")
    ]
    assert [form.counted(n, noun) for n, noun in ((1, "seed"), (2, "seed"), (0, "class"))] == [
        "1 seed",
        "2 seeds",
        "0 classes",
    ]
    assert [form.p_value(p) for p in (0.005, 1.0, 0.03712, 0.0001, 2.6e-5, None)] == [
        "0.005",
        "1",
        "0.037",
        "0.0001",
        "< 0.0001",
        "–",
    ]
    assert [form.size(n) for n in (999, 1000, 34_409_116, 2.5e13)] == ["999 bytes", "1.0 kB", "34.4 MB", "25.0 TB"]
