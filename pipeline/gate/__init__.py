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

from pipeline import registry
from pipeline.gate._nearest import Pictures
from pipeline.gate._reference import Measures, Reference
from pipeline.params import build as build_params

KIND = "check"
__all__ = ["Measures", "Pictures", "Reference", "judge"]


def judge(
    measures: Measures, reference: Reference, checks: dict[str, dict[str, Any]]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    """Which candidates pass every check, bool [N], and the first reason against each of the others, str [N].

    Raises:
        UserError: unknown check or wrong options.
    """
    reasons = np.full(len(measures.labels), "", dtype="U64")
    for name, options in checks.items():
        module = registry.get(__name__, name)
        params = build_params(module.Params, options, f"params.yaml: synthesize.gate.{name}")
        pending = reasons == ""
        passed = module.passes(replace(measures, pending=pending), reference, params)
        reasons[pending & ~passed] = name
    return reasons == "", reasons
