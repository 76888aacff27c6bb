"""Logit adjustment in the loss (Menon et al. 2021, eq. 10)."""

from typing import Annotated

from pydantic import Field

from pipeline.losses import Facts, Loss
from pipeline.losses._adjusted import Adjusted
from pipeline.params import section


@section
class Params:
    """Options.

    Attributes:
        tau: how much of the log of the class counts the logits are shifted by; 0 is cross-entropy, 1 Balanced Softmax.
    """

    tau: Annotated[float, Field(ge=0)] = 1.0


def build(params: Params, facts: Facts) -> Loss:
    """Cross-entropy of logits shifted by tau times the log of the class counts."""
    return Adjusted(params.tau, facts.smoothing)
