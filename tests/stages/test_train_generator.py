import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file

from pipeline import params
from pipeline.errors import UserError
from pipeline.images import decode_png
from pipeline.stages import train_generator
from pipeline.stages.synthesize import load_generator
from tests.builders import digests
from tests.stages.chain import STEPS, Chain
from tests.tiny import NAMES, ROOT, bars, merged, write, write_bars


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
        *("--val", str(chain.val), "--source", str(chain.source_domain), "--out", str(chain.root / "killed")),
        *("--metrics", str(chain.root / "killed.json"), "--curve", str(chain.root / "killed.csv")),
        *("--samples", str(chain.root / "killed-samples")),
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
    assert not list(checkpoints.glob("*"))
    whole = chain.train_generator("whole", schedule=steps)
    assert digests(chain.root / "killed") == digests(whole)
    assert chain.text("killed.csv") == chain.text("whole.csv")
    assert digests(chain.root / "killed-samples") == digests(chain.root / "whole-samples")


def test_sheets_of_samples_show_how_it_learned(chain: Chain) -> None:
    chain.train_generator(schedule=STEPS | {"steps": 16})
    sheets = sorted((chain.root / "generator-samples").glob("*"))
    assert [sheet.name for sheet in sheets] == [f"{step:07d}.png" for step in (2, 4, 8, 16)]
    pixels = [decode_png(sheet.read_bytes()) for sheet in sheets]
    assert {image.shape for image in pixels} == {(3 * 8, train_generator.SHEET_IMAGES * 8)}
    assert not np.array_equal(pixels[0], pixels[-1])


def test_it_starts_from_weights_that_are_those_of_the_params(chain: Chain) -> None:
    first = chain.train_generator("first") / "weights.safetensors"
    start = {"weights": str(first), "sha256": hashlib.sha256(first.read_bytes()).hexdigest()}
    still = STEPS | {"steps": 1, "lr": 1e-12, "weight_decay": 0.0, "ema_decay": 0.0}
    again = load_file(chain.train_generator("again", start=start, schedule=still) / "weights.safetensors")
    before = load_file(first)
    assert all(torch.allclose(again[name].float(), value.float(), atol=1e-6) for name, value in before.items())
    assert chain.json("again")["started_from"] == len(before)
    with pytest.raises(UserError, match=r"its sha256 is [0-9a-f]{64}, not 0{64} as train_generator.start.sha256 says"):
        chain.train_generator("other", start=start | {"sha256": "0" * 64})
    with pytest.raises(UserError, match=r"none\.safetensors: can't be read \(No such file"):
        chain.train_generator("none", start=start | {"weights": str(chain.root / "none.safetensors")})


def test_of_weights_for_other_images_it_takes_what_fits(chain: Chain) -> None:
    first = chain.train_generator("first") / "weights.safetensors"
    start = {"weights": str(first), "sha256": hashlib.sha256(first.read_bytes()).hexdigest()}
    larger = Chain(chain.root / "larger")
    larger.train = write_bars(larger.root / "big" / "train", [9, 5, 1], (1, 16, 16))
    larger.augmented = write_bars(larger.root / "big" / "augmented", [0, 1, 1], (1, 16, 16))
    larger.train_generator("second", start=start)
    assert 0 < larger.json("second")["started_from"] < chain.json("first")["started_from"] + len(load_file(first))


def test_it_stops_when_unseen_images_are_reconstructed_no_better(chain: Chain) -> None:
    early = {"check_every": 5, "patience": 2, "lr": 0.01}
    chain.train_generator("stopped", schedule=STEPS | {"steps": 2000} | early)
    steps = chain.json("stopped")["steps"]
    assert 15 <= steps < 2000
    assert pd.read_csv(chain.root / "stopped.csv")["step"].iloc[-1] == steps


def test_what_has_nothing_to_measure_says_so(chain: Chain) -> None:
    chain.val = write(chain.root / "empty", bars([]), [], NAMES)
    with pytest.raises(UserError, match=r"params.yaml: train_generator.schedule.check_every: there are no validation"):
        chain.train_generator("none", schedule=STEPS | {"check_every": 2})
