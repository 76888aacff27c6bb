"""A classifier's training step against the plain way of doing it."""

from pathlib import Path

import torch
import torch.nn.functional as F

from benchmarks.timing import Result, compare
from pipeline import backbones

BATCH, STEPS, SIDE = 64, 20, 32


def run(_: Path) -> list[Result]:
    """Benchmarks on batches of 64 images of 32 x 32 pixels, on one thread: more only measure who else is busy."""
    torch.set_num_threads(1)
    return [
        compare("training step, channels last vs plain", lambda: _steps(True), lambda: _steps(False), "steps/s", 1.1),
    ]


def _steps(channels_last: bool) -> int:
    network = backbones.create("resnet", {"depth": 20, "width": 16}, 3, 10, seed=0)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 3, SIDE, SIDE).to(memory_format=layout)
    labels = torch.randint(0, 10, (BATCH,))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimiser.zero_grad(set_to_none=True)
        F.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return STEPS
