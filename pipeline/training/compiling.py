"""torch.compile, where it is asked for: like another device it changes how fast a network trains, and rounding.

Only training runs compiled code. A network that is looked at on the way, averaged or returned is the plain one.
"""

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.params import did_you_mean
from pipeline.progress import log

MODES = ("off", "auto", "on")
PACE_STEPS = 20  # that tell how long the others will take
PAYS_FROM_S = 900.0  # of training still to come: a minute of compiling is paid for by a speed-up of a tenth


def mode() -> str:
    """When to compile: `COUNTERWEIGHT_COMPILE`, default "off".

    Raises:
        UserError: it is none of off, auto, on.
    """
    given = os.environ.get("COUNTERWEIGHT_COMPILE") or "off"
    if given not in MODES:
        raise UserError(
            f"COUNTERWEIGHT_COMPILE must be one of {', '.join(MODES)}, got {given!r}{did_you_mean(given, MODES)}"
        )
    return given


@contextmanager
def compiling(model: nn.Module, device: torch.device, steps: int, label: str) -> Iterator[Callable[[int], None]]:
    """What to call before each step: it compiles the parts that `model.compilable()` names once that will pay.

    "auto" compiles on a GPU, where the rest of the training takes long at the pace of its first steps. On a CPU it does
    not: there convolutions take the time, and compiled code calls the same ones.
    """
    when = mode() if hasattr(model, "compilable") else "off"
    parts: list[nn.Module] = model.compilable() if when != "off" else []  # type: ignore[operator]
    undecided, begun = bool(parts) and (when == "on" or device.type == "cuda"), (-1, 0.0)

    def consider(step: int) -> None:
        nonlocal undecided, begun
        if not undecided:
            return
        if when == "auto":
            if begun[0] < 0:
                begun = (step, time.monotonic())
            if step - begun[0] < PACE_STEPS:
                return
            pace = (time.monotonic() - begun[1]) / PACE_STEPS
            if pace * (steps - step) < PAYS_FROM_S:
                undecided = False
                return
        undecided = False
        _compile(parts, device, label)

    try:
        yield consider
    finally:
        if any(_compiled_call(part) for part in parts):
            torch.compiler.reset()  # the next training's networks share code with these, of which few kinds are kept
        for part in parts:
            _call_by(part, None)


@contextmanager
def eager(network: nn.Module) -> Iterator[None]:
    """Calls the network's parts as they are, whether compiled or not."""
    compiled = {part: call for part in network.modules() if (call := _compiled_call(part)) is not None}
    for part in compiled:
        _call_by(part, None)
    try:
        yield
    finally:
        for part, call in compiled.items():
            _call_by(part, call)


def _compile(parts: list[nn.Module], device: torch.device, label: str) -> None:
    from torch._dynamo.exc import TorchDynamoException  # takes seconds, which trainings as they are need not wait for

    try:
        with warnings.catch_warnings(), torch.compiler.config.patch(force_disable_caches=True):  # type: ignore[attr-defined]
            warnings.simplefilter("ignore")  # that caches are disabled is meant
            torch.compile(_trial)(torch.ones(8, device=device))
    except (TorchDynamoException, RuntimeError, OSError) as error:
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        log(f"{label}: trains without torch.compile, whose compiler doesn't work here: {reason}")
        return
    log(f"{label}: compiles its networks; the next steps take a minute or more")
    for part in parts:
        _call_by(part, torch.compile(_forward(part), options={"fallback_random": True}))  # dropout draws as without


def _forward(part: nn.Module) -> Callable[..., object]:
    """What is compiled: `Module.compile` would pass over containers of torch itself, such as `Sequential`."""

    def forward(*inputs: Tensor) -> object:
        return part.forward(*inputs)

    return forward


def _trial(values: Tensor) -> Tensor:
    return (values * 2 + 1).sin()


def _compiled_call(part: nn.Module) -> Callable[..., object] | None:
    call: Callable[..., object] | None = part._compiled_call_impl  # noqa: SLF001 - torch has no public way back
    return call


def _call_by(part: nn.Module, call: Callable[..., object] | None) -> None:
    part._compiled_call_impl = call  # noqa: SLF001 - as above
