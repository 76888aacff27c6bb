"""The reason of a verdict in plain English, clause by clause."""

from collections.abc import Mapping, Sequence

from pipeline.metrics.arms import called
from pipeline.metrics.bootstrap import Resamples, Shown
from pipeline.metrics.harm import Finding, gain_of
from pipeline.metrics.looks import Look, level_text


def gain_clause(gains: Mapping[str, Shown], look: Look | None) -> str:
    """Which baselines are beaten, or are not shown to be."""
    missed = {baseline: gain for baseline, gain in gains.items() if gain.low <= 0}
    if missed:
        figures = [f"{called(b)}: {points(gain.mean)} points {bounds(gain)}" for b, gain in missed.items()]
        worse = [called(b) for b, gain in missed.items() if gain.high < 0]
        tail = f"; shown to be worse than {' and '.join(worse)}" if worse else ""
        return "Not shown to beat " + ", nor ".join(figures) + tail + _look_clause(look)
    beaten = [f"{points(gain.mean)} points over {called(b)} {bounds(gain)}" for b, gain in gains.items()]
    beaten[1:] = [clause.replace(" points", "", 1) for clause in beaten[1:]]
    number = "both" if len(gains) == 2 else f"all {len(gains)}"
    return f"Completed beats {number} baselines: " + ", ".join(beaten) + _look_clause(look)


def by_too_few_seeds(told: str, num_seeds: int, min_seeds: int) -> str:
    """What the seeds tell, after how many there are and how many are asked for."""
    few = f"Only {num_seeds} training seed{'' if num_seeds == 1 else 's'}, and evaluate.min_seeds asks for {min_seeds}"
    return f"{few}; as far as these tell, {told[0].lower()}{told[1:]}"


def harm_clauses(resamples: Resamples, harmed: Sequence[Finding], max_class_loss: float) -> str:
    """Which classes are shown to lose too much, alone and in the pool."""
    told = ""
    alone = [finding for finding in harmed if not finding.subject.is_pool]
    if alone:
        figures = [f"{finding.subject.classes[0]!r} ({_loss(resamples, finding)})" for finding in alone]
        subject = "1 class is" if len(alone) == 1 else f"{len(alone)} classes are"
        told += f"; {subject} shown to lose more than {100 * max_class_loss:g} points: {listed(figures)}"
    for finding in harmed[len(alone) :]:
        told += (
            f"; {len(finding.subject.classes)} classes that are too small to be judged alone are shown to lose more "
            f"than {100 * max_class_loss:g} points together ({_loss(resamples, finding)})"
        )
    return told


def unharmed_clause(can_be_judged: bool, max_class_loss: float) -> str:
    """No class is shown to lose too much, or none could have been."""
    if can_be_judged:
        return f"; no class is shown to lose more than {100 * max_class_loss:g} points"
    return "; no class has enough test images to judge its loss"


def unjudged_sentence(unjudged: Sequence[str], min_test_images: int) -> str:
    """Names the classes with too few test images."""
    if not unjudged:
        return ""
    return f" Cannot be judged, with fewer than {min_test_images} test images: {listed([repr(n) for n in unjudged])}."


def listed(items: Sequence[str], most: int = 5) -> str:
    """The first items, and how many more there are."""
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def points(share: float) -> str:
    """A signed difference in percentage points."""
    return f"{decimal(share):+}"


def bounds(shown: Shown) -> str:
    """An interval in percentage points."""
    return f"[{decimal(shown.low)}, {decimal(shown.high)}]"


def decimal(share: float) -> float:
    """Share in percentage points to one decimal, or to as many as keep a figure other than 0 from becoming 0."""
    exact = 100 * round(share, 6)  # as the metrics hold it, so that sentence and report round alike
    return next((round(exact, digits) for digits in (1, 2, 3, 4) if round(exact, digits)), 0.0)


def _look_clause(look: Look | None) -> str:
    return "" if look is None else f" ({level_text(look.alpha)} intervals at look {look.number})"


def _loss(resamples: Resamples, finding: Finding) -> str:
    assert finding.against is not None
    gain = gain_of(resamples, finding.against, finding.subject)
    return f"{points(gain.mean)} against {called(finding.against)} {bounds(gain)}"
