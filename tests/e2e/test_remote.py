"""The outs travel through a real S3 server: pushed from one clone, pulled into another, and nothing is run again."""

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import Project
from tests.s3 import BUCKET, REGION, Server, server

__all__ = ["server"]  # a fixture
pytestmark = pytest.mark.e2e


def use_remote(project: Project, server: Server, secret: str | None = None) -> None:
    """Makes the server the project's default remote, in the file that git ignores."""
    (project.root / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = s3\n['remote \"s3\"']\n    url = s3://{BUCKET}/dvc\n"
        f"    endpointurl = {server.endpoint}\n    region = {REGION}\n"
        f"    access_key_id = {server.key}\n    secret_access_key = {secret or server.secret}\n"
    )


@pytest.fixture(scope="module")
def pushed(finished: Project, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("pushed") / "project")
    use_remote(project, server)
    project.run("dvc", "push")
    return project


def test_a_fresh_clone_pulls_everything_and_runs_nothing(pushed: Project, server: Server, tmp_path: Path) -> None:
    clone = pushed.clone(tmp_path / "clone")
    assert not (clone.root / "data").exists()
    use_remote(clone, server)
    clone.run("dvc", "pull")
    assert "Data and pipelines are up to date." in clone.run("dvc", "status").stdout
    assert "in sync" in clone.run("dvc", "status", "--cloud").stdout
    assert clone.repro() == set()
    assert (clone.root / "dvc.lock").read_bytes() == (pushed.root / "dvc.lock").read_bytes()
    for name in ("results/evaluate/metrics.json", "data/synthetic/00000-00000.parquet"):
        assert (clone.root / name).read_bytes() == (pushed.root / name).read_bytes()


def test_a_second_push_has_nothing_to_do(pushed: Project) -> None:
    assert "Everything is up to date." in pushed.run("dvc", "push").stdout


def test_with_a_wrong_key_it_fails_and_says_why(pushed: Project, server: Server, tmp_path: Path) -> None:
    clone = pushed.clone(tmp_path / "clone")
    use_remote(clone, server, secret="guessed")
    for command in ("pull", "push"):
        failed = clone.run("dvc", command, check=False)
        assert failed.returncode != 0
        assert re.search("^ERROR: .*Forbidden", failed.stdout, re.MULTILINE)
        assert "Traceback" not in failed.stdout
        assert server.secret not in failed.stdout
    assert not (clone.root / "data" / "real" / "train").exists()


def test_no_secret_is_in_a_tracked_file(pushed: Project, server: Server) -> None:
    assert server.secret in (pushed.root / ".dvc" / "config.local").read_text()
    pushed.run("git", "add", "--all")
    for text in (server.secret, server.key):
        assert pushed.run("git", "grep", "--cached", "--fixed-strings", text, check=False).returncode == 1
