import math

import pytest
import torch
from torch.nn.functional import normalize

from pipeline.source_tasks.simclr import nt_xent


def test_the_loss_by_hand() -> None:
    """Two images whose views are equal, at right angles to each other, T = 0.5.

    Each row sees itself (left out), its other view with cosine 1 and two rows with cosine 0:
    -log(e^2 / (e^2 + 1 + 1)).
    """
    z = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert float(nt_xent(z, 0.5)) == pytest.approx(-math.log(math.e**2 / (math.e**2 + 2)), abs=1e-6)


def test_it_is_the_formula_written_out() -> None:
    z = normalize(torch.randn(6, 4, generator=torch.Generator().manual_seed(0)))
    total = 0.0
    for i in range(6):
        others = [math.exp(float(z[i] @ z[k]) / 0.3) for k in range(6) if k != i]
        total -= math.log(math.exp(float(z[i] @ z[(i + 3) % 6]) / 0.3) / sum(others)) / 6
    assert float(nt_xent(z, 0.3)) == pytest.approx(total, abs=1e-5)
