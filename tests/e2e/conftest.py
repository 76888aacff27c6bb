"""One small run of the whole pipeline through DVC, shared by every test here (and by parallel test processes)."""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import ROOT, merged

SMALL: dict[str, Any] = {
    "ingest": {"digits": {"n_max": 12, "imbalance_ratio": 4}},
    "analyze_bias": {
        "max_augment": 2,
        "max_synthesize": 2,
        "cues": {"permutations": 19},
        "quick_classifier": {"filters": 32},
    },
    "train_source": {"backbones": {"resnet": {"depth": 8, "width": 4}}, "recipe": {"schedule": {"steps": 20}}},
    "train_generator": {"schedule": {"steps": 20}},
    "train_classifier": {"seeds": 2, "folds": 2, "fresh": 1, "recipe": {"schedule": {"steps": 20}}},
    "synthesize": {"max_draws": 4, "gate": {"nearest_prototype": {"min_share": 0.0}}},
    "evaluate": {"num_resamples": 500},
}
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


class Project:
    """A checkout of the repository with its own DVC cache."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def env(self) -> dict[str, str]:
        """Like a user's shell: this environment's programs first, nothing set for the pipeline, DVC or S3."""
        ours = ("COUNTERWEIGHT", "AWS", "DVC")
        return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COUNTERWEIGHT_WORKERS": "1",  # starting more costs longer than these few steps take
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "DVC_SITE_CACHE_DIR": str(self.root.parent / "dvc-site-cache"),
            "PYTHONUNBUFFERED": "1",
        }

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the checkout, with more variables in its environment."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.env() | dict(env),
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert not check or done.returncode == 0, done.stdout
        return done

    def repro(self, **env: str) -> set[str]:
        """Runs `dvc repro` and returns the stages that it ran."""
        return stages_run(self.run("dvc", "repro", **env).stdout)

    def outs(self) -> dict[str, dict[str, str]]:
        """Hash of each out of each stage, from dvc.lock."""
        lock = yaml.safe_load((self.root / "dvc.lock").read_text(encoding="utf-8"))
        return {name: {out["path"]: out["md5"] for out in stage["outs"]} for name, stage in lock["stages"].items()}

    def change(self, changes: Mapping[str, Any]) -> None:
        """Changes values of params.yaml."""
        path = self.root / "params.yaml"
        content = merged(yaml.safe_load(path.read_text(encoding="utf-8")), dict(changes))
        path.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")

    def commit(self) -> None:
        """Commits everything that is not ignored."""
        self.run(*GIT, "add", "--all")
        self.run(*GIT, "commit", "--quiet", "--allow-empty", "--message", "state")

    def copy(self, root: Path) -> "Project":
        """The checkout as it lies there, cache included."""
        return Project(shutil.copytree(self.root, root, symlinks=True))

    def clone(self, root: Path) -> "Project":
        """A fresh clone: what git tracks and no more."""
        self.run(*GIT, "clone", "--quiet", str(self.root), str(root))
        return Project(root)


def stages_run(output: str) -> set[str]:
    """The stages that DVC says it ran."""
    return set(re.findall(r"^Running stage '(\w+)'", output, re.MULTILINE))


def checkout(root: Path) -> Project:
    """The working state of this repository in a repository of its own, nothing run yet, with small numbers."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source = ROOT / name
        if source.is_file() and name not in ("dvc.lock", "source.json"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, root / name)
    (root / "looks.json").write_text('{"test_splits": []}\n', encoding="utf-8")
    project = Project(root)
    project.run(*GIT, "init", "--quiet", "--initial-branch", "main")
    project.change(SMALL)
    project.run("python", "-m", "pipeline", "check")
    return project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A committed run of the built-in sources; not to be changed: tests that do take a copy or a clone."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root, done = shared / "finished" / "counterweight", shared / "finished.done"
    with (shared / "finished.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            project = checkout(root)
            project.run("python", "-m", "pipeline", "scan")
            project.commit()
            project.repro()
            project.commit()
            done.touch()
    return Project(root)
