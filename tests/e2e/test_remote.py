"""The outs travel through a real S3 server: pushed from one clone, pulled into another, and nothing is run again."""

import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.conftest import Project

pytestmark = pytest.mark.e2e
BUCKET = "counterweight"


@dataclass(frozen=True)
class Server:
    """An S3 server on loopback and the key it accepts."""

    port: int
    key: str
    secret: str

    def configure(self, project: Project, secret: str | None = None) -> None:
        """Makes the server the project's default remote, in the file that git ignores."""
        (project.root / ".dvc" / "config.local").write_text(
            f"[core]\n    remote = s3\n['remote \"s3\"']\n    url = s3://{BUCKET}/dvc\n"
            f"    endpointurl = http://127.0.0.1:{self.port}\n    region = us-east-1\n"
            f"    access_key_id = {self.key}\n    secret_access_key = {secret or self.secret}\n"
        )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server = Server(free.getsockname()[1], secrets.token_hex(10), secrets.token_hex(20))
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data" / BUCKET).mkdir(parents=True)
    command = [
        *(str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--config", "/dev/null"),
        *("--addr", f"127.0.0.1:{server.port}", "--auth-key", f"{server.key},{server.secret}", str(folder / "data")),
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait(server.port, process, folder / "log")
            yield server
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the S3 server did not start: {log.read_text()}")


@pytest.fixture(scope="module")
def pushed(finished: Project, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = finished.copy(tmp_path_factory.mktemp("pushed") / "project")
    server.configure(project)
    project.run("dvc", "push")
    return project


def test_a_fresh_clone_pulls_everything_and_runs_nothing(pushed: Project, server: Server, tmp_path: Path) -> None:
    clone = pushed.clone(tmp_path / "clone")
    assert not (clone.root / "data").exists()
    server.configure(clone)
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
    server.configure(clone, secret="guessed")
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
