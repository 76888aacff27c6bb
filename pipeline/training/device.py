"""Where tensors live, in which precision and by how many processes and threads they are computed with."""

import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Literal, TypeVar

import torch

from pipeline.errors import UserError
from pipeline.precision import has_bf16

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")

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


def make_fabric(precision: Literal["auto", "32", "bf16"] = "32", count: int = 1) -> "Fabric":
    """The device, or `count` of its kind, each with a process of its own; one model is trained by all of them.

    Raises:
        UserError: there are not so many, or they lack the precision.
    """
    from lightning_fabric import Fabric  # takes half a second, which stages that only ask a network need not wait for

    where = device()
    if where.type == "cuda" and count > torch.cuda.device_count():
        raise UserError(f"COUNTERWEIGHT_DEVICES={count}: this machine has {torch.cuda.device_count()} GPUs")
    able = has_bf16(where)
    if precision == "bf16" and not able:
        raise UserError(f"params.yaml: precision bf16: {where} can't compute with it; take 32, or auto")
    lower = precision == "bf16" or (precision == "auto" and able)
    one: list[int] | int = [where.index or 0] if where.type == "cuda" else 1
    return Fabric(
        accelerator=where.type,
        devices=one if count == 1 else count,
        strategy="auto" if count == 1 else "ddp_spawn",
        precision="bf16-mixed" if lower else "32-true",
    )


def launch(fabric: "Fabric", function: Callable[["Fabric"], T]) -> T:
    """Calls `function` in every process of `fabric`; returns what the first one's returns.

    Raises:
        UserError: as `function` does, whichever process it runs in.
    """
    if fabric.world_size == 1:
        return function(fabric)
    with TemporaryDirectory() as folder:
        told = Path(folder) / "result"
        fabric.launch(partial(_tell, function, told))
        result: T | UserError = pickle.loads(told.read_bytes())  # noqa: S301 - written by our own process just now
    if isinstance(result, UserError):
        raise result
    return result


def _tell(function: Callable[["Fabric"], T], told: Path, fabric: "Fabric") -> None:
    """Leaves the result in a file: through Fabric's pipe, read only once all have ended, a large one never gets."""
    try:
        result: T | UserError = function(fabric)
    except UserError as error:
        result = error
    if fabric.is_global_zero:
        told.write_bytes(pickle.dumps(result))


def num_devices() -> int:
    """Devices (on a CPU: processes) that train one generator together: `COUNTERWEIGHT_DEVICES`, default 1.

    Raises:
        UserError: it is no whole number of at least 1.
    """
    given = os.environ.get("COUNTERWEIGHT_DEVICES") or "1"
    if not given.isdigit() or int(given) < 1:
        raise UserError(f"COUNTERWEIGHT_DEVICES must be a whole number of at least 1, got {given!r}")
    return int(given)
