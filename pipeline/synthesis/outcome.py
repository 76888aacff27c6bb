"""What became of the images that were drawn, as tables and figures."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.gate import Measures
from pipeline.metrics.fidelity.estimate import Fidelity

ACCEPTED = "accepted"
FEATURES = "of the fold classifiers, as unit vectors; real images by the classifier that left them out"


@dataclass
class Tally:
    """What became of the draws for one class.

    Attributes:
        parts: one row for each candidate, batch by batch.
        fidelity: of the accepted images; None where there are none.
    """

    wanted: int
    accepted: int = 0
    drawn: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    parts: list[pd.DataFrame] = field(default_factory=list)
    fidelity: Fidelity | None = None

    def count(
        self,
        label: str,
        seeds: npt.NDArray[np.int64],
        groups: Sequence[str | None],
        reasons: Sequence[str],
        measures: Measures,
    ) -> None:
        """Takes the candidates of a batch that were looked at, with the reason against each or ""."""
        end = len(reasons)
        numbers = np.arange(self.drawn, self.drawn + end)
        self.drawn += end
        self.accepted += sum(not reason for reason in reasons)
        self.refused.update(reason for reason in reasons if reason)
        drawn_for = {"class": label, "group": pd.Series(groups[:end], dtype="str")}
        columns = {"number": numbers, "seed": seeds[:end], "outcome": [r or ACCEPTED for r in reasons]}
        measured = {name: values[:end].astype(np.float32) for name, values in _measured(measures).items()}
        self.parts.append(pd.DataFrame(drawn_for | columns | measured | {"nearest_real": measures.copied.row[:end]}))


def _measured(measures: Measures) -> dict[str, npt.NDArray[np.float64]]:
    return {
        "prototype_distance": measures.distance,
        "own_share": measures.own_share,
        "detour": measures.detour,
        "agreement": measures.agreement,
        "probability": np.exp(-measures.surprise),
        "odds": measures.odds,
        "pixel_distance": measures.copied.pixel,
        "feature_distance": measures.copied.feature,
    }


_CANDIDATE = {
    **dict.fromkeys(("class", "group"), "str"),
    **dict.fromkeys(("number", "seed"), "int64"),
    "outcome": "str",
    **dict.fromkeys(("prototype_distance", "own_share", "detour", "agreement", "probability", "odds"), "float32"),
    **dict.fromkeys(("pixel_distance", "feature_distance"), "float32"),
    "nearest_real": "int64",
}


def candidates(tallies: Iterable[Tally], ids: Sequence[str]) -> pd.DataFrame:
    """Every candidate: why it was refused, what was measured of it, and the `id` of the real image it is nearest to."""
    parts = [part for tally in tallies for part in tally.parts]
    empty = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in _CANDIDATE.items()})
    table = pd.concat(parts, ignore_index=True) if parts else empty
    rows = table["nearest_real"].to_numpy()
    return table.assign(nearest_real=pd.Series([ids[row] if row >= 0 else None for row in rows], dtype="str"))


def summary(tallies: Mapping[str, Tally], unjudged: Sequence[str], real_pass: pd.DataFrame) -> dict[str, Any]:
    """The counts of each class and in all, the mean over classes of the figures, and what real images would meet.

    Args:
        real_pass: as `pipeline.gate.real_pass` tells.
    """
    by_class = real_pass.groupby("label").mean()
    accepted = sum(tally.accepted for tally in tallies.values())
    drawn = sum(tally.drawn for tally in tallies.values())
    return {
        "accepted": accepted,
        "drawn": drawn,
        "refused_share": round(1 - accepted / drawn, 6) if drawn else 0.0,
        "short": [name for name, tally in tallies.items() if tally.accepted < tally.wanted],
        "unjudged": list(unjudged),
        "classes": {
            name: {
                "wanted": tally.wanted,
                "accepted": tally.accepted,
                "drawn": tally.drawn,
                "refused": dict(sorted(tally.refused.items())),
                "real_pass_share": round(float(by_class["all"][label]), 6) if label in by_class.index else None,
            }
            for label, (name, tally) in enumerate(tallies.items())
        },
        "real_pass_share": {str(name): round(float(share), 6) for name, share in by_class.mean().items()},
        "features": FEATURES,
        "mean_fidelity": _means(fidelity(tallies)),
    }


def _means(table: pd.DataFrame) -> dict[str, float | None]:
    figures = table.drop(columns=["class", "real", "synthetic", *(c for c in table if c.endswith(("_low", "_high")))])
    return {str(name): None if np.isnan(mean) else round(float(mean), 6) for name, mean in figures.mean().items()}


def outcomes(tallies: Mapping[str, Tally], checks: Sequence[str]) -> pd.DataFrame:
    """Images of each class that were accepted, and refused by each check."""
    rows = [
        {"class": name, "outcome": outcome, "images": count}
        for name, tally in tallies.items()
        for outcome, count in [(ACCEPTED, tally.accepted), *((check, tally.refused[check]) for check in checks)]
    ]
    return pd.DataFrame(rows, columns=["class", "outcome", "images"])


def fidelity(tallies: Mapping[str, Tally]) -> pd.DataFrame:
    """A row of figures for each class with accepted images; what too few images cannot tell is left empty."""
    rows = {name: _row(tally.fidelity) for name, tally in tallies.items() if tally.fidelity is not None}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    return table.rename_axis("class").reset_index()


COLUMNS = [
    *("real", "synthetic", "frechet", "frechet_low", "frechet_high", "kernel", "kernel_low", "kernel_high"),
    *("precision", "recall", "density", "coverage", "authenticity", "vendi", "relative_vendi"),
]


def _row(figures: Fidelity) -> list[float]:
    counts = [figures.real, figures.synthetic]
    values = [*figures.frechet, *figures.kernel, *figures.manifold, figures.vendi, figures.relative_vendi]
    return [*counts, *(round(value, 6) for value in values)]
