"""Looks counted through DVC: each once; asking again changes nothing, and other classifiers are the next look."""

import json
from typing import Any

import pytest

from tests.e2e.conftest import Project

pytestmark = pytest.mark.e2e


def look(project: Project) -> dict[str, Any]:
    metrics = json.loads((project.root / "results/evaluate/metrics.json").read_text(encoding="utf-8"))
    return dict(metrics["look"])


@pytest.fixture
def project(finished: Project, tmp_path: Any) -> Project:
    return finished.copy(tmp_path / "copy")


def test_a_first_run_is_one_look_and_leaves_nothing_stale(project: Project) -> None:
    assert look(project)["number"] == 1
    (split,) = json.loads((project.root / "looks.json").read_text(encoding="utf-8"))["test_splits"]
    assert len(split["looks"]) == 1
    assert project.repro() == set()
    ledger, outs = (project.root / "looks.json").read_bytes(), project.outs()
    ran = project.run("dvc", "repro", "--single-item", "--force", "--no-run-cache", "evaluate").stdout
    assert "Running stage 'evaluate'" in ran
    assert (project.root / "looks.json").read_bytes() == ledger
    assert project.outs() == outs


def test_other_classifiers_are_the_next_look_and_the_old_ones_stay_the_first(project: Project) -> None:
    before = project.outs()["evaluate"]
    project.change({"train_classifier": {"added": {"weight": 0.3}}})
    assert "evaluate" in project.repro()
    assert look(project)["number"] == 2
    assert project.repro() == set()
    project.change({"train_classifier": {"added": {"weight": 0.1}}})
    project.repro()
    assert look(project)["number"] == 1
    assert project.outs()["evaluate"] == before
