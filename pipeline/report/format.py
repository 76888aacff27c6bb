"""Figures as people read them: per cent, points, counts; a minus is a minus sign."""

from collections.abc import Sequence

NONE = "–"


def percent(share: float) -> str:
    """Share as per cent to one decimal, without the sign: 0.9537 is 95.4."""
    return f"{100 * share:.1f}".replace("-", "−")


def percent_interval(bounds: Sequence[float]) -> str:
    """An interval of shares in per cent: 94.3–96.4."""
    return f"{percent(bounds[0])}–{percent(bounds[1])}"


def points(share: float) -> str:
    """Signed difference of shares in points: one decimal, up to four where a figure other than 0 would become 0."""
    value = 100 * share
    digits = next((digits for digits in (1, 2, 3, 4) if round(value, digits)), None)
    return "0.0" if digits is None else f"{value:+.{digits}f}".replace("-", "−")


def points_interval(bounds: Sequence[float]) -> str:
    """An interval of differences in points: −0.6 to +1.0."""
    return f"{points(bounds[0])} to {points(bounds[1])}"


def count(number: float) -> str:
    """Whole number with commas between thousands."""
    return f"{number:,.0f}".replace("-", "−")


def number(value: float, digits: int = 3) -> str:
    """A plain figure; infinity is its sign."""
    if value == float("inf"):
        return "∞"
    return f"{value:,.{digits}f}".rstrip("0").rstrip(".").replace("-", "−")


def ordinal(number: int) -> str:
    """Which one in a row: 1st, 2nd, 3rd, 4th, 11th, 21st."""
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{count(number)}{ending}"


def counted(number: float, noun: str) -> str:
    """A number and what it counts: 1 seed, 2 seeds, 3 classes."""
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{count(number)} {noun if number == 1 else plural}"


def p_value(value: float | None) -> str:
    """A p-value to two digits; below 0.0001 no test here tells more."""
    if value is None:
        return NONE
    return "< 0.0001" if value < 0.0001 else f"{float(f'{value:.2g}'):g}"


def size(num_bytes: float) -> str:
    """Bytes as people say them: 34.4 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} bytes" if unit == "bytes" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} TB"


def some(names: Sequence[str], most: int = 8) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
