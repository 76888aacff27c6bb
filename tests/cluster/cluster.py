"""Airflow on several machines: every part in a folder of its own that stands for a machine.

The machines share PostgreSQL, Redis, an S3 server and a git remote. Only the control machines know the metadata
database and the secrets; a worker has the broker's and the result database's passwords and no others.
"""

import json
import os
import secrets
import subprocess
import sys
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.cluster.parts import Part, Postgres, Redis, until
from tests.e2e.conftest import GIT
from tests.s3 import BUCKET, Server, free_port

AIRFLOW = (sys.executable, "-m", "airflow")
CONNECTION = "object_store"
SCHEDULERS = ("scheduler-1", "scheduler-2")
CONTROL = {
    "api": ("api-server",),
    **dict.fromkeys(SCHEDULERS, ("scheduler", "--skip-serve-logs")),
    "dags": ("dag-processor",),
    "triggers": ("triggerer", "--skip-serve-logs"),
}
HEALTHY = ("metadatabase", "scheduler", "dag_processor", "triggerer")


def _secrets() -> dict[str, str]:
    fernet = urlsafe_b64encode(secrets.token_bytes(32)).decode()
    return {"fernet": fernet} | {name: secrets.token_hex(32) for name in ("api", "jwt", "password")}


@dataclass
class Cluster:
    """Airflow's machines, and what they share.

    Attributes:
        folder: of everything but PostgreSQL's files; `folder`/origin.git is the git remote.
    """

    folder: Path
    postgres: Postgres
    redis: Redis
    server: Server
    port: int = field(default_factory=free_port)
    parts: dict[str, Part] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=_secrets, repr=False)

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    @cached_property
    def api(self) -> "Api":
        return Api(self.port, self.secrets["password"])

    def start(self) -> None:
        """Starts everything but the workers, and waits until it is usable."""
        passwords = self.folder / "passwords.json"
        passwords.touch(mode=0o600)
        passwords.write_text(json.dumps({"admin": self.secrets["password"]}))
        self.run("migration", ("db", "migrate"), self.control("migration"))
        migration = self.parts["migration"]
        assert migration.process.wait() == 0, migration.log.read_text()
        del self.parts["migration"]
        for name, command in CONTROL.items():
            self.run(name, command, self.control(name))
        until(self._is_usable, list(self.parts.values()))
        key = {"login": self.server.key, "password": self.server.secret}
        extra = json.dumps({"endpoint_url": self.server.endpoint})
        self.api.post("connections", {"connection_id": CONNECTION, "conn_type": "aws", **key, "extra": extra})

    def start_worker(self, name: str, queue: str) -> None:
        """A Celery worker for one queue."""
        command = ("celery", "worker", "--queues", queue, "--celery-hostname", name, "--concurrency", "2")
        self.run(name, (*command, "--skip-serve-logs"), self.machine(name))

    def run(self, name: str, command: Sequence[str], env: dict[str, str]) -> None:
        """Starts a part of Airflow on its machine."""
        log = self.folder / f"{name}.log"
        self.parts[name] = Part.start([*AIRFLOW, *command], log, env, cwd=env["HOME"])

    def machine(self, name: str) -> dict[str, str]:
        """Makes a machine with the code in it; returns what a worker's environment holds there."""
        folder = self.folder / "machines" / name
        folder.mkdir(parents=True)
        subprocess.run([*GIT, "clone", "--quiet", str(self.origin), str(folder / "code")], check=True)
        (folder / "tmp").mkdir()
        return _without_settings() | {
            "HOME": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "LOGNAME": name,
            "PYTHONPATH": str(folder / "code"),
            "AIRFLOW_HOME": str(folder / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "code" / "dags"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__HOSTNAME_CALLABLE": "getpass.getuser",  # $LOGNAME: all machines are one here
            "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "AIRFLOW__OPERATORS__DEFAULT_QUEUE": "cpu",
            "AIRFLOW__CELERY__BROKER_URL": self.redis.url,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{self.postgres.url('celery')}",
            "AIRFLOW__CELERY__OPERATION_TIMEOUT": "20",
            "AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": '{"result_extended": true}',  # which worker had a task
            "AIRFLOW__LOGGING__REMOTE_LOGGING": "True",
            "AIRFLOW__LOGGING__REMOTE_BASE_LOG_FOLDER": f"s3://{BUCKET}/logs",
            "AIRFLOW__LOGGING__REMOTE_LOG_CONN_ID": CONNECTION,
            "COUNTERWEIGHT_GIT": str(self.origin),
            "COUNTERWEIGHT_REMOTE": f"s3://{BUCKET}/dvc",
            "COUNTERWEIGHT_RUNS": f"s3://{BUCKET}",
            "COUNTERWEIGHT_S3_ENDPOINT": self.server.endpoint,
            "COUNTERWEIGHT_AWS_CONN_ID": CONNECTION,
            "COUNTERWEIGHT_SCRATCH": str(folder / "scratch"),
            "DVC_SITE_CACHE_DIR": str(folder / "dvc-site-cache"),
            "COUNTERWEIGHT_WORKERS": "1",  # as in `finished`, so that hashes can be equal
            "OMP_NUM_THREADS": "1",
        }

    def control(self, name: str) -> dict[str, str]:
        """Makes a machine that is no worker's: it knows the metadata database and the secrets."""
        env = self.machine(name)
        return env | {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.postgres.url("airflow"),
            "AIRFLOW__CORE__FERNET_KEY": self.secrets["fernet"],
            "AIRFLOW__API__SECRET_KEY": self.secrets["api"],
            "AIRFLOW__API_AUTH__JWT_SECRET": self.secrets["jwt"],
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.port),
            "AIRFLOW__API__WORKERS": "1",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(self.folder / "passwords.json"),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
            "COUNTERWEIGHT_PLACEMENT": str(Path(env["PYTHONPATH"]) / "docker" / "placement" / "celery.yaml"),
        }

    def stop(self) -> None:
        """Ends everything of Airflow."""
        with ThreadPoolExecutor() as pool:
            list(pool.map(Part.stop, self.parts.values()))

    def _is_usable(self) -> bool:
        try:
            health = self.api.get("monitor/health")
            schedulers = self.api.get("jobs?job_type=SchedulerJob&is_alive=true")["jobs"]
            return (
                all(health[part]["status"] == "healthy" for part in HEALTHY)
                and len(schedulers) == len(SCHEDULERS)
                and bool(self.api.get("dags/complete_dataset"))
            )
        except OSError:
            return False


class ApiError(OSError):
    """Airflow's API server refused."""


@dataclass(frozen=True)
class Api:
    """Airflow's REST API."""

    port: int
    password: str = field(repr=False)

    def get(self, path: str) -> Any:
        return self._call("GET", f"/api/v2/{path}", token=self._token)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("POST", f"/api/v2/{path}", body, self._token)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._call("PATCH", f"/api/v2/{path}", body, self._token)

    @cached_property
    def _token(self) -> str:
        answer = self._call("POST", "/auth/token", {"username": "admin", "password": self.password})
        return str(answer["access_token"])

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None, token: str = "") -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Authorization": f"Bearer {token}"}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        if answer.status >= 400:
            raise ApiError(f"{method} {path}: {answer.status} {content[:500]!r}")
        return json.loads(content)


def _without_settings() -> dict[str, str]:
    """This environment's programs, nothing set for Airflow, the pipeline, DVC or S3."""
    ours = ("AIRFLOW", "COUNTERWEIGHT", "AWS", "DVC", "PYTEST")
    env = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return env | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
