import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.torch import load_file

from pipeline import params
from pipeline.stages.synthesize import load_generator
from tests.builders import digests
from tests.stages.chain import STEPS, Chain
from tests.tiny import ROOT, merged, write_bars


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_a_generator_with_its_curve_and_nothing_left_of_its_checkpoint(chain: Chain) -> None:
    folder = chain.train_generator()
    assert load_generator(folder).sample(np.array([0, 2]), np.array([1, 2])).shape == (2, 1, 8, 8)
    metrics = chain.json("generator")
    assert (metrics["images"], metrics["source_images"]) == (15 + 5, 30)
    curve = pd.read_csv(chain.root / "generator.csv")
    assert curve["step"].tolist() == list(range(1, 7))
    assert curve["loss"].iloc[-1] == pytest.approx(metrics["final_loss"]["vae"], rel=1e-5)
    assert not list(Path(os.environ["COUNTERWEIGHT_CHECKPOINTS"]).glob("*"))


def test_equal_runs_write_equal_bytes_and_another_seed_others(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    one = digests(chain.train_generator("one"))
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "2")
    assert digests(chain.train_generator("again")) == one
    assert chain.text("one.csv") == chain.text("again.csv")
    assert digests(chain.train_generator("other", seed=5)) != one


def test_the_source_domain_is_used_only_where_its_classes_and_shape_are_the_same(chain: Chain) -> None:
    chain.train_generator("shared")
    chain.train_generator("none_of_it", source_share=0.0)
    chain.source_domain = write_bars(chain.root / "larger", [3, 3, 3], (1, 12, 12))
    chain.train_generator("larger_images")
    chain.without_source_domain().train_generator("no_domain")
    used = [chain.json(name)["source_images"] for name in ("shared", "none_of_it", "larger_images", "no_domain")]
    assert used == [30, 0, 0, 0]
    weights = [digests(chain.root / name) for name in ("none_of_it", "no_domain", "larger_images", "shared")]
    assert weights[1] == weights[2] != weights[3]


def test_the_vae_remembers_images_of_a_shared_source_domain(chain: Chain) -> None:
    chain.train_generator("shared", name="vae")
    chain.without_source_domain().train_generator("alone", name="vae")
    filled = [load_file(chain.root / name / "weights.safetensors")["bank_filled"] for name in ("shared", "alone")]
    assert filled[0].all()
    assert not filled[1].any()


def test_weights_of_rows_count(chain: Chain) -> None:
    chain.train_generator("half")
    chain.augmented = write_bars(chain.root / "again" / "augmented", [0, 2, 3], origin="augmented", weight=1.0)
    chain.train_generator("whole")
    assert digests(chain.root / "half") != digests(chain.root / "whole")


# Saves after each step and then goes on, so that there is time to kill it.
STAGE = """
import sys, time
from pipeline.training.checkpoint import Checkpoint
saved = Checkpoint.save_if_due
def slowly(self, state, step):
    self._interval_s = 0
    saved(self, state, step)
    time.sleep(0.02)
if sys.argv[1] == "slowly":
    Checkpoint.save_if_due = slowly
from pipeline.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def test_killed_with_sigkill_and_run_again_it_writes_the_same_file(chain: Chain) -> None:
    steps = STEPS | {"steps": 60}
    section = merged(params.read(ROOT / "params.yaml")["train_generator"], {"schedule": steps})
    params_file = chain.root / "params.yaml"
    params_file.write_text(yaml.safe_dump({"train_generator": section}, sort_keys=False), encoding="utf-8")
    command = [
        *("train_generator", "--train-data", str(chain.train), str(chain.augmented)),
        *("--source", str(chain.source_domain), "--out", str(chain.root / "killed")),
        *("--metrics", str(chain.root / "killed.json"), "--curve", str(chain.root / "killed.csv")),
        *("--params-file", str(params_file)),
    ]
    checkpoints = Path(os.environ["COUNTERWEIGHT_CHECKPOINTS"])

    process = subprocess.Popen([sys.executable, "-c", STAGE, "slowly", *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(checkpoints.glob("*.safetensors")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (chain.root / "killed").exists()

    run = [sys.executable, "-c", STAGE, "now", *command]
    done = subprocess.run(run, cwd=ROOT, check=True, capture_output=True, text=True)
    assert "resuming after " in done.stderr
    assert not list(checkpoints.glob("*.safetensors"))
    whole = chain.train_generator("whole", schedule=steps)
    assert digests(chain.root / "killed") == digests(whole)
    assert chain.text("killed.csv") == chain.text("whole.csv")
