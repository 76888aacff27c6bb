"""A cluster of Airflow's parts on loopback: PostgreSQL, Redis, two schedulers, Celery workers, an S3 server."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.cluster import Cluster
from tests.cluster.parts import INSTALL, Postgres, Redis, postgres_programs, processes_in
from tests.e2e.conftest import GIT, Project, finished
from tests.s3 import Server, server

__all__ = ["finished", "server"]  # fixtures


@pytest.fixture(scope="session", autouse=True)
def programs() -> None:
    """Asked before the small run is made."""
    found = {"PostgreSQL": postgres_programs(), "Redis": shutil.which("redis-server")}
    if missing := [name for name, path in found.items() if path is None]:
        pytest.skip(f"{' and '.join(missing)} not found on this machine: {INSTALL}")


@pytest.fixture(scope="module")
def cluster(finished: Project, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Airflow without workers; its git remote holds what `finished` has committed, everything else is empty."""
    folder = tmp_path_factory.mktemp("cluster")
    subprocess.run([*GIT, "clone", "--quiet", "--bare", str(finished.root), str(folder / "origin.git")], check=True)
    with ExitStack() as stack:
        # Not in the folder of the tests, which only their user may enter: root's PostgreSQL is run by another one.
        postgres_folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="counterweight-")))
        postgres = Postgres.start(postgres_folder, ("airflow", "celery"))
        stack.callback(postgres.part.stop)
        (folder / "redis").mkdir()
        redis = Redis.start(folder / "redis")
        stack.callback(redis.part.stop)
        cluster = Cluster(folder, postgres, redis, server)
        stack.callback(cluster.stop)
        cluster.start()
        yield cluster
    left = [*processes_in(folder), *processes_in(postgres_folder)]
    for process in left:
        process.kill()
    assert not left
