"""Airflow as `make airflow` runs it, and its REST API as the UI uses it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import NOT_FOUND, OK, HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from plugins import lock as locks
from plugins.dvc_graph import read_graph
from plugins.local import environment
from tests.e2e.conftest import Project
from tests.s3 import free_port

DAG = "complete_dataset"
START_TIMEOUT_S, STOP_TIMEOUT_S, RUN_TIMEOUT_S = 200, 120, 600
DONE = {"success", "failed", "skipped", "upstream_failed", "removed"}


def variables(project: Project, **more: str) -> dict[str, str]:
    """A user's shell, nothing of Airflow set in it but what is given."""
    return {name: value for name, value in project.env().items() if not name.startswith("AIRFLOW")} | more


@dataclass(frozen=True)
class Airflow:
    """A running Airflow on a checkout, with a log-in."""

    project: Project
    port: int
    password: str
    _token: list[str] = field(default_factory=list, repr=False)

    @property
    def stages(self) -> list[str]:
        """The stages of dvc.yaml, each of which is a task."""
        return list(read_graph(self.project.root))

    def request(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
        """Status and content of an answer of the API."""
        if not self._token:
            login = {"username": "admin", "password": self.password}
            self._token.append(self._send("POST", "/auth/token", login, {})[1]["access_token"])
        return self._send(method, f"/api/v2{path}", body, {"Authorization": f"Bearer {self._token[0]}"})

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Content of an answer that is no refusal."""
        status, content = self.request(method, path, body)
        assert status < 300, f"{method} {path}: {status} {content}"
        return content

    def _send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> tuple[int, Any]:
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            content = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), {**content, **headers})
            answer = connection.getresponse()
            text = answer.read()
        return answer.status, json.loads(text) if text else None

    def form(self, dag: str = DAG) -> dict[str, Any]:
        """What the trigger form shows, and sends where nothing is changed in it."""
        return {name: param["value"] for name, param in self.ask("GET", f"/dags/{dag}/details")["params"].items()}

    def trigger(self, *, run_after: str | None = None, **changes: Any) -> str:
        """Starts a run with the form's values and changes; returns its id."""
        body = {"logical_date": None, "run_after": run_after, "conf": self.form() | changes}
        return str(self.ask("POST", f"/dags/{DAG}/dagRuns", body)["dag_run_id"])

    def runs(self, dag: str = DAG) -> list[dict[str, Any]]:
        """All runs of a DAG, oldest first."""
        found = self.ask("GET", f"/dags/{dag}/dagRuns")["dag_runs"]
        return sorted(found, key=lambda run: str(run["run_after"]))

    def tasks(self, run: str, dag: str = DAG) -> dict[str, dict[str, Any]]:
        """Task instances of a run, by task."""
        found = self.ask("GET", f"{_path(dag, run)}/taskInstances")["task_instances"]
        return {task["task_id"]: task for task in found}

    def wait(self, run: str, *, until: str | None = None, dag: str = DAG) -> dict[str, dict[str, Any]]:
        """The run's task instances once all of them, or the one named, are done."""
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while time.monotonic() < deadline:
            tasks = self.tasks(run, dag)
            if all(task["state"] in DONE for name, task in tasks.items() if until in (None, name)):
                return tasks
            again = [name for name, task in tasks.items() if task["state"] == "up_for_retry"]
            assert not again, f"{again[0]} is to be tried again: " + "\n".join(self.log(run, again[0], dag))
            time.sleep(0.3)
        raise AssertionError(f"{run} takes more than {RUN_TIMEOUT_S} s: {self.states(run, dag)}")

    def states(self, run: str, dag: str = DAG) -> dict[str, str]:
        """State of each task."""
        return {name: task["state"] for name, task in self.tasks(run, dag).items()}

    def set_state(self, run: str, task: str, state: str) -> None:
        """Marks a task, as the UI's button does."""
        self.ask("PATCH", f"{_path(DAG, run)}/taskInstances/{task}", {"new_state": state})

    def approve(self, run: str, dag: str) -> None:
        """Answers what the task `approve` asks, as a person does in the UI."""
        path, answer = f"{_path(dag, run)}/taskInstances/approve/-1/hitlDetails", {"chosen_options": ["Approve"]}
        deadline = time.monotonic() + RUN_TIMEOUT_S
        while (found := self.request("PATCH", path, answer))[0] == NOT_FOUND:  # it has not asked yet
            assert time.monotonic() < deadline, self.states(run, dag)
            time.sleep(0.3)
        assert found[0] == OK, found

    def clear(self, run: str, tasks: list[str]) -> None:
        """Clears tasks of a run, so that they run again."""
        body = {"dry_run": False, "only_failed": False, "reset_dag_runs": True, "dag_run_id": run, "task_ids": tasks}
        self.ask("POST", f"/dags/{DAG}/clearTaskInstances", body)

    def result(self, run: str, task: str) -> dict[str, Any]:
        """What a task returned, its XCom."""
        found = self.ask("GET", f"{_path(DAG, run)}/taskInstances/{task}/xcomEntries/return_value")["value"]
        content: dict[str, Any] = json.loads(found) if isinstance(found, str) else found
        return content

    def entries(self, run: str, task: str, dag: str = DAG) -> list[dict[str, Any]]:
        """A task's log as the UI shows it, of its last try."""
        number = self.tasks(run, dag)[task]["try_number"]
        found = self.ask("GET", f"{_path(dag, run)}/taskInstances/{task}/logs/{number}?full_content=true")["content"]
        return [entry if isinstance(entry, dict) else {"event": entry} for entry in found]

    def log(self, run: str, task: str, dag: str = DAG) -> list[str]:
        """The lines of a task's log, of its last try."""
        return [str(entry["event"]) for entry in self.entries(run, task, dag)]

    def unpause(self) -> str:
        """Lets the DAG run, which begins with last night's run; returns its id."""
        self.ask("PATCH", f"/dags/{DAG}", {"is_paused": False})
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (nights := [run for run in self.runs() if run["run_type"] == "scheduled"]):
            assert time.monotonic() < deadline
            time.sleep(0.3)
        return str(nights[0]["dag_run_id"])

    def processes(self) -> dict[int, str]:
        """Command lines of all processes that work in the checkout, below it too."""
        return processes_in(self.project.root)


def _path(dag: str, run: str) -> str:
    return f"/dags/{dag}/dagRuns/{quote(run)}"


def processes_in(folder: Path) -> dict[int, str]:
    """Command lines of all processes whose working directory is the folder or lies in it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink().is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it has ended
            continue
    return found


@contextmanager
def running(project: Project, **more: str) -> Iterator[Airflow]:
    """Airflow as `make airflow` starts it; ended as by Ctrl-C, after which nothing of it may be left."""
    port, out = free_port(), project.root.parent / "make-airflow.log"
    with out.open("w") as log:
        process = subprocess.Popen(
            ["python", "-m", "plugins.local"],
            cwd=project.root,
            env=variables(project, PORT=str(port), **more),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_for(process, out, "log-in: admin")
        password = json.loads((project.root / ".airflow" / "passwords.json").read_text())["admin"]
        airflow = Airflow(project, port, password)
        assert len(airflow.processes()) > 4, "it sees the processes that have to be gone in the end"
        yield airflow
    finally:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        left = processes_in(project.root)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        process.wait()
    assert (process.returncode, left) == (0, {}), out.read_text()


def _wait_for(process: "subprocess.Popen[bytes]", out: Path, text: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while text not in out.read_text():
        assert process.poll() is None, out.read_text()
        assert time.monotonic() < deadline, out.read_text()
        time.sleep(0.1)


def command(project: Project, *words: str, timeout_s: float = RUN_TIMEOUT_S, **more: str) -> str:
    """Runs `airflow` in the checkout as set up by `make airflow`, but without a server; returns what it said.

    What takes too long, such as by waiting for a second try, is ended.
    """
    home = project.root / ".airflow"
    places = {
        "COUNTERWEIGHT_GIT": project.root,
        "COUNTERWEIGHT_REMOTE": project.root / ".remote",
        "COUNTERWEIGHT_RUNS": home / "runs",
        "COUNTERWEIGHT_SCRATCH": home / "scratch",
    }
    ours = environment(project.root, home, 0) | {name: str(place) for name, place in places.items()}
    given: dict[str, Any] = {"cwd": project.root, "env": variables(project) | ours | more}
    process: subprocess.Popen[str]
    with subprocess.Popen(
        ["airflow", *words], text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **given
    ) as process:
        try:
            return process.communicate(timeout=timeout_s)[0]
        except subprocess.TimeoutExpired:
            for pid in processes_in(project.root):
                os.kill(pid, signal.SIGKILL)
            return process.communicate()[0]


def published(project: Project, reference: str) -> locks.Lock:
    """Entries of the dvc.lock that was published."""
    return locks.parse(project.run("git", "show", f"{reference}:dvc.lock").stdout)
