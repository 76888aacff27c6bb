"""torch.compile: asked for, considered, and of no effect but on the pace."""

import os
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline import generators, params, registry
from pipeline.errors import UserError
from pipeline.generators import Generator
from pipeline.training import compiling
from pipeline.training.batches import Batch
from pipeline.training.checkpoint import Checkpoint
from pipeline.training.loop import asked, train
from tests.tiny import ROOT, bars, batch_of, schedule

OPTIONS = params.read(ROOT / "params.yaml")["train_generator"]["generators"]
LABELS = np.arange(8) % 3
CPU, GPU = torch.device("cpu"), torch.device("cuda")


class Part(nn.Module):
    """Counts how often it is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.compiled = 0

    def count(self) -> None:
        self.compiled += 1


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.part = Part()

    def compilable(self) -> list[nn.Module]:
        return [self.part]


def steps_until_compiled(
    device: torch.device, steps: int, step_s: float, monkeypatch: pytest.MonkeyPatch
) -> int | None:
    """Runs a training whose steps take so long; the step before which its network was compiled. No GPU is needed."""
    now = [100.0]
    monkeypatch.setattr(compiling, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(compiling, "_compile", lambda parts, *_: [part.count() for part in parts])
    model, found = Whole(), None
    with compiling.compiling(model, device, steps, "test") as consider:
        for step in range(steps):
            consider(step)
            if model.part.compiled and found is None:
                found = step
            now[0] += step_s
    assert model.part.compiled <= 1
    return found


@pytest.mark.parametrize(
    ("given", "device", "steps", "step_s", "expected"),
    [
        ("", GPU, 30, 1000.0, None),
        ("off", GPU, 30, 1000.0, None),
        ("on", CPU, 3, 0.0, 0),
        ("auto", CPU, 30, 1000.0, None),
        ("auto", GPU, 5000, 0.2, 20),  # 4,980 steps of 0.2 s are 996 s
        ("auto", GPU, 5000, 0.1, None),
        ("auto", GPU, 20, 1000.0, None),
    ],
)
def test_when_it_is_compiled(
    given: str, device: torch.device, steps: int, step_s: float, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_COMPILE", given)
    assert steps_until_compiled(device, steps, step_s, monkeypatch) == expected


def test_a_model_that_names_no_part_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_COMPILE", "on")
    with compiling.compiling(Part(), CPU, 5, "test") as consider:
        consider(0)


def test_an_unknown_mode_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_COMPILE", "atuo")
    with pytest.raises(UserError) as caught:
        compiling.mode()
    assert str(caught.value) == ("COUNTERWEIGHT_COMPILE must be one of off, auto, on, got 'atuo'; did you mean 'auto'?")


def test_what_is_looked_at_runs_as_it_is_and_trains_on_compiled() -> None:
    model = nn.Sequential(nn.Linear(2, 2))
    model[0]._compiled_call_impl = lambda _: "compiled"
    with asked(model) as network:
        assert network(torch.ones(1, 2)).shape == (1, 2)
    assert model(torch.ones(1, 2)) == "compiled"


# ------------------------------------------------------------ the real compiler

needs_a_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX") or "g++") is None, reason="torch.compile needs g++, which is not here"
)


TAKES_LONG = ("flow", "gan")  # half a minute of a processor each


class KilledError(Exception):
    """Stands for the end of the process."""


def batch_at(step: int) -> Batch:
    return batch_of(bars(LABELS, seed=step), LABELS)


def make(name: str) -> Generator:
    return generators.create(name, OPTIONS[name] | {"width": 8}, (1, 8, 8), 3, seed=0)


def fit(name: str, kept: Checkpoint | None = None, killed_at: int | None = None) -> dict[str, np.ndarray]:
    model = make(name)

    def batches(step: int) -> Batch:
        if step == killed_at:
            raise KilledError
        return batch_at(step)

    plan = schedule(steps=6, ema_decay=0.9)
    trained, _ = train(model, batches, plan, seed=0, label=name, checkpoint=kept, show=False)
    assert all(part._compiled_call_impl is None for part in (*model.modules(), *trained.modules()))
    return {key: value.numpy() for key, value in trained.state_dict().items()}


@pytest.mark.slow
@needs_a_compiler
@pytest.mark.filterwarnings("default")  # of the compiler's own
@pytest.mark.parametrize("name", [name for name in registry.names("pipeline.generators") if name not in TAKES_LONG])
def test_compiled_it_learns_the_same(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch._dynamo.utils import counters

    plain = fit(name)
    assert "compiles" not in capsys.readouterr().err
    before = counters["stats"]["unique_graphs"]
    monkeypatch.setenv("COUNTERWEIGHT_COMPILE", "on")
    compiled = fit(name)
    assert counters["stats"]["unique_graphs"] - before > len(make(name).compilable())  # them, and the compiler's trial
    assert f"{name}: compiles its networks; the next steps take a minute or more\n" in capsys.readouterr().err
    assert compiled.keys() == plain.keys()
    for key, value in plain.items():
        np.testing.assert_allclose(compiled[key], value, rtol=1e-2, atol=1e-3, err_msg=key)


@pytest.mark.slow
@needs_a_compiler
@pytest.mark.filterwarnings("default")  # of the compiler's own
def test_compiled_it_goes_on_where_it_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_COMPILE", "on")
    whole = fit("vae")
    with pytest.raises(KilledError):
        fit("vae", Checkpoint("work", (), interval_s=0), killed_at=3)
    resumed = fit("vae", Checkpoint("work", (), interval_s=0))
    assert all(np.array_equal(resumed[key], value) for key, value in whole.items())


@pytest.mark.filterwarnings("default")  # of the compiler's own
def test_without_a_compiler_it_trains_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch._inductor import config

    plain = fit("vae")
    monkeypatch.setenv("COUNTERWEIGHT_COMPILE", "on")
    monkeypatch.setattr(config.cpp, "cxx", ("/nowhere/g++",))
    without = fit("vae")
    told = capsys.readouterr().err
    assert re.search(r"vae: trains without torch.compile, whose compiler doesn't work here: .*[Cc]ompiler", told)
    assert told.count("\n") == 1
    assert all(np.array_equal(without[key], value) for key, value in plain.items())
