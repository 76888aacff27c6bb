"""The whole pipeline through DVC, as a user runs it: `dvc repro` runs what is stale, all of it and no more."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline import registry
from plugins.dvc_graph import read_graph
from tests.e2e.conftest import Project, checkout, stages_run
from tests.tiny import ROOT

pytestmark = pytest.mark.e2e
GRAPH = read_graph(ROOT)


def test_every_stage_ran_and_wrote_what_it_declares(finished: Project) -> None:
    outs = finished.outs()
    assert set(outs) == set(GRAPH)
    for name, stage in GRAPH.items():
        assert set(outs[name]) == set(stage.outs)
        assert all((finished.root / out).exists() for out in stage.outs)
    metrics = json.loads((finished.root / "results/evaluate/metrics.json").read_text())
    assert metrics["verdict"] in ("ship", "hold")
    assert metrics["seeds"] == 2


def test_nothing_half_written_and_no_checkpoint_is_left(finished: Project) -> None:
    assert not list(finished.root.rglob("*.partial"))
    assert not list((finished.root / ".counterweight").glob("checkpoints/*"))


def test_git_sees_the_lock_and_none_of_the_outs(finished: Project) -> None:
    tracked = finished.run("git", "ls-files").stdout.split("\n")
    assert "dvc.lock" in tracked
    assert not [name for name in tracked if name.startswith(("data/", "models/", "results/", ".counterweight/"))]
    assert finished.run("git", "status", "--porcelain").stdout == ""


def test_a_second_repro_runs_nothing_and_a_changed_number_only_what_depends_on_it(
    finished: Project, tmp_path: Path
) -> None:
    project = finished.copy(tmp_path / "copy")
    lock = (project.root / "dvc.lock").read_bytes()
    again = project.run("dvc", "repro").stdout
    assert "Running stage" not in again
    assert "Data and pipelines are up to date." in again
    assert (project.root / "dvc.lock").read_bytes() == lock

    project.change({"evaluate": {"max_class_loss": 0.5}})
    changed = project.run("dvc", "params", "diff").stdout
    assert re.search(r"params\.yaml\W+evaluate\.max_class_loss\W+0\.05\W+0\.5\b", changed)
    ran = project.repro()
    assert "evaluate" in ran
    assert ran <= {"evaluate", "report"}
    assert project.repro() == set()


def test_metrics_and_plots_can_be_shown(finished: Project, tmp_path: Path) -> None:
    project = finished.copy(tmp_path / "copy")
    shown = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)[""]["data"]
    assert set(shown) == {"results/evaluate/headline.json"}
    headline = shown["results/evaluate/headline.json"]["data"]
    assert headline["verdict"] in ("ship", "hold")
    assert set(headline["gain"]) == {"over_cross_entropy", "over_balanced_softmax", "over_augmented"}
    project.run("dvc", "plots", "show")
    page = (project.root / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    for title in ("Loss of the generator", "Recall of each class", "What the gate let through and refused"):
        assert title in page


def test_killed_while_training_and_run_again_an_independent_clone_ends_the_same(
    finished: Project, tmp_path: Path
) -> None:
    project = checkout(tmp_path / "other" / "place")
    project.run("python", "-m", "pipeline", "scan")
    process = subprocess.Popen(
        ["dvc", "repro"],
        cwd=project.root,
        env=project.env() | {"COUNTERWEIGHT_WORKERS": "2"},  # worker processes, unlike in `finished`
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    with process.stdout:
        before = []
        for line in process.stdout:
            before.append(line)
            if line.startswith("Running stage 'train_baseline'"):
                break
        assert process.poll() is None, "".join(before)
        time.sleep(2)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = set(project.outs())
    assert "train_baseline" not in done
    assert "train_source" in done

    ran = stages_run(project.run("dvc", "repro", "train_baseline", "train_augmented", COUNTERWEIGHT_WORKERS="2").stdout)
    assert {"train_baseline", "train_augmented"} <= ran
    assert not ran & done
    assert project.outs().items() <= finished.outs().items()  # test_bridge has the other stages too


def test_a_folder_of_ones_own_coloured_images(tmp_path: Path) -> None:
    source = tmp_path / "Bilder für später"
    for label, (name, count) in enumerate({"rotes Quadrat": 14, "cercle bleu, très petit": 8, "緑": 4}.items()):
        for number in range(count):
            picture = np.random.default_rng((label, number)).integers(0, 80, (18, 24, 3), dtype=np.uint8)
            colour = tuple(200 * (channel == label) for channel in range(3))
            cv2.circle(picture, (12, 9), 4 + number % 3, colour, -1)
            path = source / name / f"{number} ü.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    (source / "緑" / "broken.png").write_bytes(b"no picture")

    project = checkout(tmp_path / "mein Projekt ß")
    project.change({"evaluate": {"min_test_images": 1}, "train_classifier": {"seeds": 1, "fresh": 0}})
    project.run("python", "-m", "pipeline", "configure", str(source))
    project.run("python", "-m", "pipeline", "check")
    project.run("python", "-m", "pipeline", "scan")
    assert project.repro() == set(GRAPH)
    metrics = json.loads((project.root / "results/evaluate/metrics.json").read_text(encoding="utf-8"))
    recall = metrics["arms"]["completed"]["per_class_recall"]
    assert set(recall) == {"rotes Quadrat", "cercle bleu, très petit", "緑"}
    ingested = json.loads((project.root / "results/ingest/metrics.json").read_text(encoding="utf-8"))
    assert (ingested["files"], ingested["refused"], ingested["channels"]) == (27, 1, 3)
    if "verdict" in registry.names("pipeline.commands"):
        assert "緑" in project.run("python", "-m", "pipeline", "verdict").stdout
    assert project.repro() == set()
