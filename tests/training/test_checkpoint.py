from pathlib import Path

import pytest

from pipeline.stages.train_generator import Params
from pipeline.training.checkpoint import Checkpoint
from tests.tiny import settings


def name(params: Params, data: str = "a", domain: str | None = None) -> str:
    return Checkpoint([params, data, domain], ["generators/vae.py", "training/loop.py"]).path.name


def test_other_work_has_another_checkpoint() -> None:
    params = settings(Params, "train_generator")
    names = {
        name(params),
        name(settings(Params, "train_generator", seed=99)),
        name(settings(Params, "train_generator", schedule={"lr": 0.123})),
        name(settings(Params, "train_generator", generators={"vae": {"latent_dim": 3}})),
        name(params, data="b"),
        name(params, domain="a"),
        Checkpoint([params, "a", None], ["training/loop.py"]).path.name,
    }
    assert len(names) == 7
    assert name(settings(Params, "train_generator")) == name(params)


def test_the_environment_says_where_they_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_CHECKPOINTS", str(tmp_path / "elsewhere"))
    assert Checkpoint(1, []).path.parent == tmp_path / "elsewhere"
    monkeypatch.delenv("COUNTERWEIGHT_CHECKPOINTS")
    assert Checkpoint(1, []).path.parent == Path(".counterweight/checkpoints")


def test_nothing_there_means_from_the_start() -> None:
    assert Checkpoint("never run", []).load({}) == 0
    Checkpoint("never run", []).remove()
