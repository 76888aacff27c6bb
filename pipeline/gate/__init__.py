"""The gate: refuses synthetic images that would hurt. One file a check; the folder is the registry.

A check module has
    Params: its thresholds, a section of params.yaml;
    passes(measures, reference, params) -> bool [N]: which candidates pass; one that it cannot judge passes.
An image is refused for the first check that it fails, in the order of params.yaml.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline import registry
from pipeline.gate._nearest import Pictures
from pipeline.gate._reference import Measures, Reference

KIND = "check"
LEFT_OUT = 250  # real images of a class and fold by which is told what the gate lets through of real ones
__all__ = ["Measures", "Pictures", "Reference", "judge", "real_pass"]


def judge(
    measures: Measures, reference: Reference, checks: dict[str, dict[str, Any]]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    """Which candidates pass every check, bool [N], and the first reason against each of the others, str [N].

    Raises:
        UserError: unknown check or wrong options.
    """
    reasons = np.full(len(measures.labels), "", dtype="U64")
    for name, options in checks.items():
        pending = reasons == ""
        passed = _passed(name, options, replace(measures, pending=pending), reference)
        reasons[pending & ~passed] = name
    return reasons == "", reasons


def real_pass(reference: Reference, checks: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Whether each real image would pass each check by itself, and `all` of them in turn, beside its `label`.

    Each is judged by the classifier that left it out. A gate that refuses most of them asks for more than real images
    have, or for what its classifiers cannot tell.

    Raises:
        UserError: as `judge`.
    """
    tables = []
    for measures in reference.left_out(LEFT_OUT):
        alone = {name: _passed(name, options, measures, reference) for name, options in checks.items()}
        tables.append(pd.DataFrame({"label": measures.labels, **alone, "all": judge(measures, reference, checks)[0]}))
    return pd.concat(tables, ignore_index=True)


def _passed(name: str, options: dict[str, Any], measures: Measures, reference: Reference) -> npt.NDArray[np.bool_]:
    module, params = registry.chosen(__name__, name, options, "params.yaml: synthesize.gate")
    passed: npt.NDArray[np.bool_] = module.passes(measures, reference, params)
    return passed
