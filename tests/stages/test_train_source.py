import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.stages import complete_features
from pipeline.training import checkpoint
from pipeline.training.batches import Batch
from pipeline.training.classifier_task import ClassifierTask
from pipeline.training.self_supervised import Learner
from pipeline.training.transfer import load, load_task
from tests.builders import digests
from tests.stages.chain import Chain
from tests.tiny import NAMES, settings


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_the_trained_network_and_its_accuracy_on_a_held_out_tenth(chain: Chain) -> None:
    folder = chain.train_source(recipe={"schedule": {"steps": 80, "batch_size": 16}})
    metrics = chain.json("source")
    assert (metrics["transferred"], metrics["images"]) == (True, 27)
    assert metrics["held_out_accuracy"] in (1.0, round(2 / 3, 6))  # of three images
    task = load_task(folder)
    assert (task.backbone, task.options, task.in_channels, task.class_names) == (
        "resnet",
        {"depth": 8, "width": 4},
        1,
        NAMES,
    )
    assert not torch.equal(load(folder, "weights").head.weight, task.build(0).head.weight)


def test_equal_runs_write_equal_bytes_and_another_seed_others(chain: Chain) -> None:
    one, again, other = chain.train_source("one"), chain.train_source("again"), chain.train_source("other", seed=5)
    assert digests(one) == digests(again)
    assert chain.text("one.json") == chain.text("again.json")
    assert digests(one) != digests(other)


class Killed(BaseException):
    """Stands in for the end of the process."""


@pytest.mark.parametrize(
    ("task", "changes"), [(ClassifierTask, {}), (Learner, {"task": "simclr"})], ids=["supervised", "simclr"]
)
def test_killed_half_way_it_goes_on_and_writes_the_same_file(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, task: Any, changes: dict[str, Any]
) -> None:
    whole = digests(chain.train_source("whole", **changes))
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)
    loss, asked = task.loss, []

    def dies_once(self: Any, player: str, batch: Batch, progress: float) -> Tensor:
        asked.append(round(6 * progress))
        if len(asked) == 4:
            raise Killed
        value: Tensor = loss(self, player, batch, progress)
        return value

    monkeypatch.setattr(task, "loss", dies_once)
    with pytest.raises(Killed):
        chain.train_source("killed", **changes)
    assert digests(chain.train_source("killed", **changes)) == whole
    assert asked == [0, 1, 2, 3, 3, 4, 5]
    assert chain.text("killed.json") == chain.text("whole.json")
    assert not list(Path(os.environ["COUNTERWEIGHT_CHECKPOINTS"]).iterdir())


def test_without_a_source_domain_only_the_architecture_is_kept(chain: Chain) -> None:
    folder = chain.without_source_domain().train_source()
    assert chain.json("source") == {"transferred": False}
    assert set(digests(folder)) == {"task.json"}
    assert load_task(folder).class_names == ()


@pytest.mark.parametrize("head", ["mlp", "cosine"])
def test_the_head_of_params_yaml_is_that_of_every_arm_and_completion_says_where_it_cannot(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], head: str
) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain.train_source(head=head, heads={"mlp": {"hidden": [6, 5]}})
    folder = chain.baseline()
    network = load(folder, "balanced_softmax/seed-0")
    assert load_task(folder).head == head
    assert network.head.in_features == {"mlp": 5, "cosine": 16}[head]
    few = settings(complete_features.Params, "complete_features", few_up_to=5, many_above=8, target=9, samples=4)
    out, metrics = chain.root / "completed", chain.root / "completed.json"
    complete_features.run(folder, chain.train, chain.val, out, metrics, few)
    changed = not torch.equal(load(out, "balanced_softmax/seed-0").head.weight, network.head.weight)
    assert changed == (head == "mlp")
    told = "what is fitted is a linear head, and the baseline's is 'cosine'; the heads stay as they are"
    assert (told in capsys.readouterr().err) == (head == "cosine")
