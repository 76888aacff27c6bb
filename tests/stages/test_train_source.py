from pathlib import Path

import pytest
import torch

from pipeline.training.transfer import load, load_task
from tests.builders import digests
from tests.stages.chain import Chain
from tests.tiny import NAMES


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


def test_without_a_source_domain_only_the_architecture_is_kept(chain: Chain) -> None:
    folder = chain.without_source_domain().train_source()
    assert chain.json("source") == {"transferred": False}
    assert set(digests(folder)) == {"task.json"}
    assert load_task(folder).class_names == ()
