"""What was found as tables for DVC's plots."""

import pandas as pd

from pipeline.metrics.bias.findings import Found


def cue_table(found: Found) -> pd.DataFrame:
    """A row a cue: effect for all classes, p, and the class that it gives away most."""
    rows = [
        {
            "cue": name,
            "effect": round(cue.effect, 6),
            "p": round(cue.p, 6),
            "class": found.names[found.cues.classes[cue.class_effect.argmax()]],
            "class_effect": round(float(cue.class_effect.max()), 6),
        }
        for name, cue in found.cues.found.items()
    ]
    return pd.DataFrame(rows, columns=["cue", "effect", "p", "class", "class_effect"])


def drift_table(found: Found) -> pd.DataFrame:
    """A row a comparison and property: Kolmogorov-Smirnov distance, population stability index and p."""
    compared = {"newest batch": found.newest, "test images": found.test}
    rows = [
        {
            "what": f"{what}: {name}",
            "distance": round(shift.distance, 6),
            "stability": round(shift.stability, 6),
            "p": float(f"{shift.p:.6g}"),
        }
        for what, drift in compared.items()
        if drift is not None
        for name, shift in drift.shifts.items()
    ]
    return pd.DataFrame(rows, columns=["what", "distance", "stability", "p"])
