"""Where tensors live and how many threads compute with them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import UserError

SMALL_PIXELS = 16 * 16


@contextmanager
def threads_for(image_shape: tuple[int, ...]) -> Iterator[None]:
    """Computes on one thread where images are so small that more cost more than they bring."""
    before = torch.get_num_threads()
    if image_shape[-2] * image_shape[-1] <= SMALL_PIXELS:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def device() -> torch.device:
    """The device to compute on: `COUNTERWEIGHT_DEVICE` (such as cpu, cuda, cuda:1), else a GPU where there is one.

    Raises:
        UserError: `COUNTERWEIGHT_DEVICE` names none that is usable here.
    """
    name = os.environ.get("COUNTERWEIGHT_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"COUNTERWEIGHT_DEVICE={name!r} can't be used here: {reason}") from None
