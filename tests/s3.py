"""S3 servers on loopback for tests of any folder: import the fixture `server` where it is asked for.

`server` is rclone over a folder: real requests and real signatures (a wrong key is refused), up in half a second. It
ignores the conditions of conditional puts and keeps no versions; for those there is the Ceph gateway of tests/ceph.py.
"""

import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest

BUCKET = "counterweight"  # there from the start
REGION = "us-east-1"
START_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Server:
    """An S3 server on loopback and the key it accepts."""

    port: int
    key: str
    secret: str = field(repr=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """What boto3's client, and so `plugins.run_store.open_store`, is made with."""
        return {
            "endpoint_url": self.endpoint,
            "aws_access_key_id": self.key,
            "aws_secret_access_key": self.secret,
            "region_name": REGION,
        }

    @property
    def env(self) -> dict[str, str]:
        """For DVC, boto3 and s3fs in another process."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def client(self) -> Any:
        """A boto3 client, to be closed by `with closing(...)` or left to the collector."""
        return boto3.Session().client("s3", **self.credentials)

    def new_bucket(self) -> str:
        """Makes an empty bucket of a name not used before; returns the name."""
        name = f"test-{secrets.token_hex(6)}"
        self.client().create_bucket(Bucket=name)
        return name

    def upload(self, folder: Path, bucket: str, prefix: str = "") -> list[str]:
        """Puts every file of a folder under `prefix`; returns the keys."""
        client = self.client()
        files = {prefix + path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        for key in sorted(files):
            client.put_object(Bucket=bucket, Key=key, Body=files[key].read_bytes())
        return sorted(files)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys of a bucket that start with `prefix`, sorted."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(entry["Key"] for page in pages for entry in page.get("Contents", ()))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """rclone over a folder, with the bucket `BUCKET`."""
    server = Server(free_port(), secrets.token_hex(10), secrets.token_hex(20))
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data" / BUCKET).mkdir(parents=True)
    command = [
        *(str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--config", "/dev/null"),
        *("--addr", f"127.0.0.1:{server.port}", "--auth-key", f"{server.key},{server.secret}", str(folder / "data")),
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            wait_for_port(server.port, process, folder / "log")
            yield server
        finally:
            process.terminate()


@pytest.fixture
def server_in_env(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """`server`, which boto3 finds by itself in this process's environment."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "COUNTERWEIGHT_S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    return server


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], log: Path, timeout_s: float = START_TIMEOUT_S) -> None:
    """Waits until a server that was just started answers.

    Raises:
        AssertionError: it ended, or took too long; with what it logged.
    """
    deadline = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError(f"the server on port {port} did not start: {log.read_text()}")
