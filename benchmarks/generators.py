"""A generator's training step against the plain way of doing it and against the processor's peak; how fast it draws."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.timing import Result, compare
from pipeline import generators, params
from pipeline.generators import Generator
from pipeline.generators._convolution import SmoothConv2d
from pipeline.generators._unet import Dropout
from pipeline.training.batches import Batch
from pipeline.training.loop import train
from pipeline.training.schedule import Schedule

BATCH, STEPS, SHAPE, CLASSES = 64, 4, (3, 32, 32), 10
DRAWN = {"vae": 1024, "gan": 1024, "flow": 64}
MATRIX = 2048
TORCHS_OWN: dict[type[nn.Module], type[nn.Module]] = {SmoothConv2d: nn.Conv2d, Dropout: nn.Dropout}


def run(_: Path) -> list[Result]:
    """Benchmarks on 32 x 32 pixels in colour, on one thread: more only measure who else is busy."""
    torch.set_num_threads(1)
    results = []
    for name in ("flow", "gan"):
        for precision, what in (("32", "fp32"), ("auto", "bf16 where there is hardware")):
            title = f"training step of the {name} in {what}, vs a plain fp32 loop"
            results.append(_compare(title, partial(_ours, name, precision), partial(_plain, name), "steps/s", 1.2))
        results.append(_of_peak(name))
    return results + [_drawing(name) for name in DRAWN]


_compare = partial(compare, rounds=3, clock=time.process_time)


def _new(name: str) -> Generator:
    options = params.read(Path("params.yaml"))["train_generator"]["generators"][name]
    return generators.create(name, options, SHAPE, CLASSES, seed=0)


def _batch(layout: torch.memory_format) -> Batch:
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(BATCH, *SHAPE, generator=rng) * 2 - 1
    labels = torch.randint(0, CLASSES, (BATCH,), generator=rng)
    zeros = torch.zeros_like(labels)
    return Batch(images.to(memory_format=layout), labels, torch.ones(BATCH), zeros, zeros.bool())


def _ours(name: str, precision: Literal["32", "auto"]) -> int:
    how = {"lr": 1e-4, "warmup": 0.0, "weight_decay": 0.0, "ema_decay": 0.0, "max_grad_norm": 50.0}
    schedule = Schedule(steps=STEPS, batch_size=BATCH, precision=precision, **how)
    batch = _batch(torch.channels_last)
    train(_new(name), lambda _step: batch, schedule, seed=0, label=name, show=False)
    return STEPS


def _plain(name: str) -> int:
    """The same losses and updates in a loop as it is commonly written, of torch's own layers."""
    model, batch = _new(name).to(memory_format=torch.contiguous_format), _batch(torch.contiguous_format)  # type: ignore[call-overload]
    for module in model.modules():
        module.__class__ = TORCHS_OWN.get(type(module), type(module))
    optimisers = {player: torch.optim.AdamW(parameters, lr=1e-4) for player, parameters in model.players().items()}
    for step in range(STEPS):
        for player, optimiser in optimisers.items():
            optimiser.zero_grad()
            model.loss(player, batch, step / STEPS).backward()
            torch.nn.utils.clip_grad_norm_(optimiser.param_groups[0]["params"], 50.0)
            optimiser.step()
    return STEPS


def _of_peak(name: str) -> Result:
    """Share of the rate of a large product of matrices, measured in turn, that a training step reaches."""
    model, batch = _new(name), _batch(torch.channels_last)
    with FlopCounterMode(display=False) as counter:
        for player in model.players():
            model.loss(player, batch, 0.5).backward()
    flops = counter.get_total_flops()
    a, b = torch.randn(2, MATRIX, MATRIX).unbind()

    def product() -> int:
        for _ in range(4):
            a @ b
        return 4 * 2 * MATRIX**3 // 10**6

    def step() -> int:
        return _ours(name, "32") * flops // 10**6

    return _compare(
        f"training step of the {name} in fp32, of the peak of matrix products", step, product, "MFLOP/s", 0.45
    )


def _drawing(name: str) -> Result:
    """Images a second, beside one a second."""
    model = _new(name).eval()
    how = generators.sampling(name, params.read(Path("params.yaml"))["synthesize"]["sampling"])
    labels = np.arange(DRAWN[name]) % CLASSES
    rate = max(_rate(lambda: model.sample(labels, labels, how), len(labels)) for _ in range(2))
    return Result(f"images drawn from the {name}", round(rate, 1), 1.0, "images/s", round(rate, 1), 1.0)


def _rate(draw: Callable[[], object], count: int) -> float:
    start = time.perf_counter()
    draw()
    return count / (time.perf_counter() - start)
