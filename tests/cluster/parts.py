"""Servers and daemons on loopback, each in a session of its own, so that it can be ended with all its children."""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import psutil
import psycopg

from plugins.local import stop
from tests.s3 import free_port, wait_for_port

T = TypeVar("T")
INSTALL = "apt-get install postgresql redis-server"


@dataclass(frozen=True)
class Part:
    """One running part and the file that it logs to."""

    process: "subprocess.Popen[bytes]" = field(repr=False)
    log: Path
    env: Mapping[str, str] = field(repr=False)

    @classmethod
    def start(
        cls, command: Sequence[str | Path], log: Path, env: Mapping[str, str] = MappingProxyType({}), **options: Any
    ) -> "Part":
        streams = {"stdin": subprocess.DEVNULL, "stderr": subprocess.STDOUT}
        with log.open("wb") as file:
            process = subprocess.Popen(command, env=env, stdout=file, start_new_session=True, **streams, **options)
        return cls(process, log, env)

    def check(self) -> None:
        """Raises AssertionError where it has ended."""
        assert self.process.poll() is None, f"it has ended:\n{self.log.read_text(errors='replace')[-3000:]}"

    def kill(self) -> None:
        """As when the machine loses its power."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        stop(self.process.pid)
        self.process.wait()


def until(answer: Callable[[], T], parts: Sequence[Part] = (), timeout_s: float = 600.0) -> T:
    """Asks until the answer is neither None nor empty; all `parts` must go on running."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for part in parts:
            part.check()
        if found := answer():
            return found
        time.sleep(0.2)
    raise AssertionError(f"no answer within {timeout_s:.0f} s")


def processes_in(folder: Path) -> list[psutil.Process]:
    """All processes, whoever started them, that work in a folder in here."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder):
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def postgres_programs() -> Path | None:
    """The folder of initdb and postgres; Debian keeps it out of PATH."""
    if (found := shutil.which("postgres")) is not None:
        return Path(found).resolve().parent
    found = {float(path.parts[-3]): path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")}
    return found[max(found)] if found else None


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL server with a database and a role for each name in `passwords`."""

    part: Part
    port: int
    passwords: dict[str, str] = field(repr=False)

    @classmethod
    def start(cls, folder: Path, names: Sequence[str]) -> "Postgres":
        """Takes passwords over TCP on loopback only; `folder` may not lie in one that only root may enter."""
        programs, port, owner = postgres_programs(), free_port(), _not_root()
        assert programs is not None, INSTALL
        passwords = {name: secrets.token_hex(16) for name in ("postgres", *names)}
        given = folder / "password"
        given.write_text(passwords["postgres"])
        if owner:
            for path in (folder, given):
                os.chown(path, owner["user"], owner["group"])
        how = ("--username=postgres", "--auth=scram-sha-256", f"--pwfile={given}", "--encoding=UTF8", "--locale=C")
        init = [programs / "initdb", "--no-sync", *how, f"--pgdata={folder / 'data'}"]
        subprocess.run(init, check=True, capture_output=True, cwd=folder, **owner)
        given.unlink()
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        command = [programs / "postgres", "-D", folder / "data", *words]
        server = cls(Part.start(command, folder / "log", cwd=folder, **owner), port, passwords)
        try:
            until(server._answers, [server.part])
            for name in names:
                server.run("postgres", f"CREATE ROLE {name} LOGIN PASSWORD '{passwords[name]}'")
                server.run("postgres", f"CREATE DATABASE {name} OWNER {name}")
                server.run("postgres", f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        except BaseException:
            server.part.stop()
            raise
        return server

    def url(self, name: str, scheme: str = "postgresql+psycopg2") -> str:
        return f"{scheme}://{name}:{self.passwords[name]}@127.0.0.1:{self.port}/{name}"

    def run(self, name: str, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of a query, if it has any; `values` take the place of each %s."""
        with psycopg.connect(self.url(name, "postgresql"), autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def _answers(self) -> bool:
        """It listens a moment before it does."""
        try:
            return bool(self.run("postgres", "SELECT 1"))
        except psycopg.OperationalError:
            return False


@dataclass(frozen=True)
class Redis:
    """A Redis server that keeps nothing on disk."""

    part: Part
    url: str = field(repr=False)

    @classmethod
    def start(cls, folder: Path) -> "Redis":
        port, password = free_port(), secrets.token_hex(16)
        settings = folder / "redis.conf"  # on the command line everybody could read the password
        settings.touch(mode=0o600)
        settings.write_text(f'bind 127.0.0.1\nport {port}\nrequirepass {password}\nsave ""\ndir "{folder}"\n')
        program = shutil.which("redis-server")
        assert program is not None, INSTALL
        part = Part.start([program, settings], folder / "log", cwd=folder)
        wait_for_port(port, part.process, part.log)
        return cls(part, f"redis://:{password}@127.0.0.1:{port}/0")


def _not_root() -> dict[str, Any]:
    """What makes Popen start PostgreSQL as somebody that it accepts."""
    if os.geteuid():
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
