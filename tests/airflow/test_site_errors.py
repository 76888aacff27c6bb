"""A site that is set up wrongly: the first task that meets it fails for good, with one line that says what to do."""

import json
import re
from pathlib import Path

import pytest

from tests.airflow.git_server import serve
from tests.airflow.running import DAG, command
from tests.builders import image_folder
from tests.e2e.bridge import small_project
from tests.e2e.conftest import GIT, Project
from tests.s3 import BUCKET, Server, server

__all__ = ["server"]


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project of one stage."""
    root = tmp_path_factory.mktemp("single")
    source = image_folder(root / "source", {"cat": 12, "dog": 5})
    project = small_project(root / "counterweight", source, ("ingest",))
    command(project, "db", "migrate")
    return project


def error(project: Project, **given: str) -> str:
    """The one line that says why a task failed for good, where the DAG runs with more variables in its environment."""
    said = command(project, "dags", "test", "--mark-success-pattern", "hand_over", DAG, timeout_s=180, **given)
    assert "up_for_retry" not in said.lower(), said
    lines = re.findall(r"\[error +\] (.+?) +\[", said)
    assert lines[1:] == ["Task failed with exception"], said
    return str(lines[0])


def object_store(server: Server, secret: str) -> dict[str, str]:
    """Variables that open the object store with a key."""
    return {
        "COUNTERWEIGHT_S3_ENDPOINT": server.endpoint,
        "COUNTERWEIGHT_AWS_CONN_ID": "object_store",
        "AIRFLOW_CONN_OBJECT_STORE": json.dumps({"conn_type": "aws", "login": server.key, "password": secret}),
    }


def test_a_variable_that_is_missing_is_told(single: Project) -> None:
    told = error(single, COUNTERWEIGHT_REMOTE="")
    assert told == "the environment of this worker lacks COUNTERWEIGHT_REMOTE; see docs/airflow.md"


def test_a_bucket_that_does_not_exist_is_told(single: Project, server: Server) -> None:
    told = error(single, COUNTERWEIGHT_REMOTE="s3://no-such-bucket/dvc", **object_store(server, server.secret))
    assert told.startswith("the bucket does not exist: make it, or correct COUNTERWEIGHT_REMOTE ")
    assert "s3://no-such-bucket/dvc" in told


def test_a_remote_that_cannot_be_written_is_told(single: Project, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = error(single, COUNTERWEIGHT_REMOTE=str(tmp_path / "file" / "remote"))
    assert "COUNTERWEIGHT_REMOTE" in told
    assert str(tmp_path / "file" / "remote") in told


def test_a_wrong_key_is_told(single: Project, server: Server) -> None:
    told = error(single, COUNTERWEIGHT_RUNS=f"s3://{BUCKET}", **object_store(server, "guessed"))
    assert told.startswith("the object store refuses the key: correct the connection that COUNTERWEIGHT_AWS_CONN_ID ")


def test_a_wrong_password_of_the_git_server_is_told(single: Project, tmp_path: Path) -> None:
    single.run(*GIT, "clone", "--quiet", "--bare", ".", str(tmp_path / "origin.git"))
    with serve(tmp_path, "nightly", "right") as url:
        told = error(
            single,
            COUNTERWEIGHT_GIT=f"{url}/origin.git",
            COUNTERWEIGHT_GIT_CONN_ID="git_server",
            AIRFLOW_CONN_GIT_SERVER=json.dumps({"conn_type": "git", "login": "nightly", "password": "guessed"}),
        )
    assert told.startswith("the git remote refuses the log-in: correct the connection that COUNTERWEIGHT_GIT_CONN_ID ")
    assert "guessed" not in told
