"""Each error is a real one, from git, DVC, an S3 server or a process; what is tested is what is made of it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.checkout import update_mirror
from plugins.failures import Failure, explain
from plugins.lock import StaleError
from plugins.operators import EXPECTED
from plugins.process import run
from plugins.run_store import FolderStore, open_store
from plugins.settings import Settings
from tests.s3 import BUCKET, Server, free_port

SETTINGS = Settings(git="GIT", remote="REMOTE", runs="RUNS", endpoint=None, scratch=Path("scratch"))


def failure_of(call: Callable[[], object]) -> Failure:
    with pytest.raises(EXPECTED) as caught:
        call()
    return explain(caught.value, SETTINGS)


def shell(script: str, folder: Path) -> Callable[[], object]:
    return lambda: run(["bash", "-c", script], folder)


def stage_that(ends: str, folder: Path) -> Callable[[], object]:
    """A real `dvc repro` of one stage."""
    (folder / "stage.sh").write_text(ends)
    (folder / "dvc.yaml").write_text("stages: {one: {cmd: bash stage.sh, outs: [o]}}")
    return lambda: run([sys.executable, "-m", "dvc", "repro"], folder)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for command in (["init", "--quiet", "--no-scm"], ["config", "core.analytics", "false"]):
        subprocess.run([sys.executable, "-m", "dvc", *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_mistake_of_the_user_s_is_told_as_the_pipeline_told_it(project: Path) -> None:
    told = "params.yaml: lr must be > 0, got -1"
    assert failure_of(stage_that(f"echo error: '{told}' >&2; exit 2", project)) == Failure(told, passing=False)


@pytest.mark.parametrize(
    "ends", ["kill -9 $$", "bash -c 'kill -9 $$'; exit $?"], ids=["told by its signal", "told by a shell"]
)
def test_a_stage_that_was_killed_may_be_tried_again(ends: str, project: Path) -> None:
    failure = failure_of(stage_that(ends, project))
    assert failure.passing
    assert "memory" in failure.line


def test_what_the_pipeline_calls_passing_may_be_tried_again(project: Path) -> None:
    told = "s3://b/in: cannot be read from http://store (Could not connect); run it again"
    assert failure_of(stage_that(f"echo 'error: {told}' >&2; exit 75", project)) == Failure(told, passing=True)


def test_a_stage_that_crashed_may_be_tried_again_whatever_numbers_it_printed(project: Path) -> None:
    failure = failure_of(stage_that("echo step 403 of 1000, Forbidden fruit 23 of 401; exit 1", project))
    assert failure.passing
    assert "failed to reproduce" in failure.line


def test_a_command_that_was_killed_may_be_tried_again(tmp_path: Path) -> None:
    assert failure_of(shell("kill -9 $$", tmp_path)).passing


def test_no_git_remote_at_the_address(tmp_path: Path) -> None:
    failure = failure_of(lambda: update_mirror(str(tmp_path / "none.git"), tmp_path / "mirrors"))
    assert not failure.passing
    assert failure.line.startswith("there is no git remote at that address: correct COUNTERWEIGHT_GIT (git GIT, ")


def test_a_git_server_that_is_away_may_come_back(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/x.git"
    assert failure_of(lambda: update_mirror(url, tmp_path / "mirrors")).passing


@pytest.mark.parametrize("call", ["get", "put", "has"])
def test_a_wrong_key_is_a_matter_of_the_connection(server: Server, call: str) -> None:
    store = open_store(f"s3://{BUCKET}/x", server.credentials | {"aws_secret_access_key": "guessed"})
    failure = failure_of(
        {"get": lambda: store.get("a"), "put": lambda: store.put("a", b""), "has": lambda: store.has("a")}[call]
    )
    assert not failure.passing
    assert failure.line.startswith("the object store refuses the key: correct the connection that ")
    assert server.secret not in failure.line


def test_a_bucket_that_is_not_there(server: Server) -> None:
    store = open_store("s3://nowhere/x", server.credentials)
    for call in (lambda: store.get("a"), lambda: store.put("a", b"")):
        failure = failure_of(call)
        assert not failure.passing
        assert failure.line.startswith("the bucket does not exist: make it, or correct COUNTERWEIGHT_REMOTE")


def test_an_object_store_that_is_away_may_come_back(server: Server) -> None:
    away = server.credentials | {"endpoint_url": f"http://127.0.0.1:{free_port()}"}
    assert failure_of(lambda: open_store(f"s3://{BUCKET}/x", away).get("a")).passing


@pytest.mark.parametrize(
    ("bucket", "secret", "told"), [("nowhere", "", "the bucket"), (BUCKET, "guessed", "the object store")]
)
def test_dvc_s_own_words_are_understood_too(server: Server, project: Path, bucket: str, secret: str, told: str) -> None:
    (project / "file").write_text("content")
    config = f"['remote \"r\"']\n    url = s3://{bucket}/x\n    endpointurl = {server.endpoint}\n"
    (project / ".dvc" / "config").write_text(f"[core]\n    remote = r\n    no_scm = true\n{config}")
    subprocess.run([sys.executable, "-m", "dvc", "add", "--quiet", "file"], cwd=project, check=True)
    env = {"PATH": "", **server.env} | ({"AWS_SECRET_ACCESS_KEY": secret} if secret else {})
    failure = failure_of(lambda: run([sys.executable, "-m", "dvc", "push"], project, None, env))
    assert not failure.passing
    assert failure.line.startswith(told)


def test_what_the_bridge_itself_refuses_stays_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.put("a", b"1")
    assert failure_of(lambda: store.put("a", b"2")) == Failure(
        "a: another attempt wrote something else there; a run's keys are written once", passing=False
    )
    assert explain(StaleError("ingest: stale"), SETTINGS) == Failure("ingest: stale", passing=False)


def test_a_full_disk_may_be_emptied() -> None:
    assert explain(OSError(28, "No space left on device"), SETTINGS).passing


def test_a_folder_that_may_not_be_written_is_told() -> None:
    for error in (PermissionError(13, "Permission denied"), NotADirectoryError(20, "Not a directory")):
        assert not explain(error, SETTINGS).passing
