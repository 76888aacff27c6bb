"""Where tensors live: `COUNTERWEIGHT_DEVICE` (such as cpu, cuda, cuda:1), else a GPU where there is one."""

import os

import torch

from pipeline.errors import UserError


def device() -> torch.device:
    """The device to compute on.

    Raises:
        UserError: `COUNTERWEIGHT_DEVICE` names none that is usable here.
    """
    name = os.environ.get("COUNTERWEIGHT_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"COUNTERWEIGHT_DEVICE={name!r} can't be used here: {reason}") from None
