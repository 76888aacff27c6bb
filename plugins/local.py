"""`make airflow`: Airflow on this machine alone, with SQLite and LocalExecutor, on loopback; Ctrl-C ends all of it."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

# Not `airflow standalone`: its log servers bind every interface. Here the API server reads the logs from the disk.
COMPONENTS = (
    ("api-server",),
    ("scheduler", "--skip-serve-logs"),
    ("dag-processor",),
    ("triggerer", "--skip-serve-logs"),
)
AIRFLOW = (sys.executable, "-m", "airflow")
PARTS = ("metadatabase", "scheduler", "dag_processor", "triggerer")
SLOTS = 4
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0


def main() -> int:
    """Starts Airflow, says where it is, and waits until it is told to stop."""
    root = Path.cwd()
    home = root / ".airflow"
    home.mkdir(exist_ok=True)
    port = int(os.environ.get("PORT", "0")) or _free_port(8080)
    password = _password(home)
    env = {**os.environ, **environment(root, home, port)}
    for warning in _warnings(root):
        print(f"note: {warning}", flush=True)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _interrupt())
    running: list[subprocess.Popen[bytes]] = []
    try:
        subprocess.run([*AIRFLOW, "db", "migrate"], env=env, check=True, **_quiet(home / "migrate.log"))
        for component in COMPONENTS:
            log = _quiet(home / f"{component[0]}.log")
            running.append(subprocess.Popen([*AIRFLOW, *component], env=env, start_new_session=True, **log))
        pool = ("pools", "set", "gpu", str(SLOTS - 1), "Stages for a GPU worker")
        subprocess.run([*AIRFLOW, *pool], env=env, check=True, **_quiet(home / "pools.log"))
        if not _wait_until_up(running, port):
            print(f"error: Airflow did not come up; see the logs in {home}", file=sys.stderr)
            return 1
        print(f"Airflow: http://127.0.0.1:{port}  log-in: admin / {password}   (Ctrl-C stops it)", flush=True)
        while all(process.poll() is None for process in running):
            time.sleep(1)
        print(f"error: a part of Airflow has ended; see the logs in {home}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\nstopping Airflow", flush=True)
        return 0
    finally:
        for process in running:
            stop(process.pid)
    return 1


def _quiet(log: Path) -> dict[str, Any]:
    return {"cwd": Path.cwd(), "stdin": subprocess.DEVNULL, "stdout": log.open("w"), "stderr": subprocess.STDOUT}


def environment(root: Path, home: Path, port: int) -> dict[str, str]:
    """Variables that keep Airflow in `home` and on loopback, and tell the bridge where things are."""
    given = {
        "COUNTERWEIGHT_GIT": str(root),
        "COUNTERWEIGHT_REMOTE": str(root / ".remote"),
        "COUNTERWEIGHT_RUNS": str(home / "runs"),
        "COUNTERWEIGHT_SCRATCH": str(home / "scratch"),
        "COUNTERWEIGHT_PLACEMENT": str(root / "docker" / "placement" / "local.yaml"),
    }
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(root / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(root / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": "admin:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(root), os.environ.get("PYTHONPATH")])),
        **{name: os.environ.get(name, value) for name, value in given.items()},
    }


def stop(session: int) -> None:
    """Ends every process of a session: SIGTERM to its leader alone would leave children behind."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while members := _members(session):
            for pid in members:
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    continue
            if time.monotonic() > deadline:
                break
            time.sleep(0.5)


def _members(session: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def _password(home: Path) -> str:
    path = home / "passwords.json"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(json.dumps({"admin": secrets.token_urlsafe(12)}))
    return str(json.loads(path.read_text())["admin"])


def _wait_until_up(running: "list[subprocess.Popen[bytes]]", port: int) -> bool:
    url, deadline = f"http://127.0.0.1:{port}/api/v2/monitor/health", time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and all(process.poll() is None for process in running):
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                health = json.load(answer)
            if all(health[part]["status"] == "healthy" for part in PARTS):
                return True
        except (OSError, ValueError, KeyError, TypeError):
            pass
        time.sleep(0.5)
    return False


def _warnings(root: Path) -> list[str]:
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"], cwd=root, capture_output=True, text=True, check=False
    ).stdout
    return ["runs use committed code; what is not committed here is not part of them"] if changed.strip() else []


def _free_port(wanted: int) -> int:
    for port in range(wanted, wanted + 40):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(f"no free port from {wanted} to {wanted + 39}")


def _interrupt() -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
