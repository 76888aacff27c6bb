"""Runs one stage of a run in a fresh checkout: overlay, `dvc repro`, checks, `dvc push`, and last the lock entry."""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plugins import lock as locks
from plugins import looks, objects
from plugins.checkout import check_out
from plugins.dvc_graph import Stage, read_graph
from plugins.process import Command, run
from plugins.run_plan import RunPlan, load_fragments, save_fragment
from plugins.run_store import RunStore, open_store, s3_credentials
from plugins.settings import Settings

Line = Callable[[str], None]
MISSING = (
    "{name}: {path} is not in {remote}, though dvc.lock names it: push it from where it is, or change the stage's "
    "parameters so that it is made anew"
)


@dataclass(frozen=True)
class StageResult:
    """What became of a stage.

    Attributes:
        ran: whether DVC ran it, or found it unchanged.
        seconds: what all of it took.
        stage_seconds: what the stage itself took of that.
        metrics: its metrics.json.
        page: where a page of its outs is in the remote, `CHECKSUM/PATH`.
    """

    ran: bool
    seconds: float
    stage_seconds: float
    metrics: dict[str, Any]
    page: str | None


class Workspace:
    """A checkout of a run's commit with the run's own files laid over it."""

    def __init__(self, folder: Path, settings: Settings, env: Mapping[str, str]) -> None:
        self.folder, self._settings = folder, settings
        self._env = {
            **os.environ,
            **env,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
            "DVC_NO_ANALYTICS": "1",
            "COUNTERWEIGHT_CHECKPOINTS": str(settings.scratch / "checkpoints"),
            "COUNTERWEIGHT_CACHE": str(settings.scratch / "cache"),
        }
        self.graph: dict[str, Stage] = {}

    def overlay(self, plan: RunPlan, lock: locks.Lock) -> None:
        """Lays the run's own files over the checkout (params, sources, looks, lock), and points DVC at the remote."""
        (self.folder / "params.yaml").write_text(plan.params_yaml, encoding="utf-8")
        if plan.source_json:  # there is none before the first scan
            (self.folder / "source.json").write_text(plan.source_json, encoding="utf-8")
        looks.lay_over(self.folder, lock)
        self.graph = read_graph(self.folder)
        (self.folder / "dvc.lock").write_text(locks.dump(lock, self.graph), encoding="utf-8")
        endpoint = f"    endpointurl = {self._settings.endpoint}\n" if self._settings.endpoint else ""
        config = f"[core]\n    remote = run\n['remote \"run\"']\n    url = {self._settings.remote}\n{endpoint}"
        (self.folder / ".dvc" / "config.local").write_text(config, encoding="utf-8")

    def lock(self) -> locks.Lock:
        """Entries of dvc.lock as it stands."""
        return locks.parse((self.folder / "dvc.lock").read_text(encoding="utf-8"))

    def dvc(self, *arguments: str, line: Line, started: Callable[[Command], None] | None = None) -> list[str]:
        """Runs a dvc command.

        Raises:
            CommandError: it failed.
        """
        command = Command([sys.executable, "-m", "dvc", *arguments], self.folder, self._env)
        if started is not None:
            started(command)
        return command.wait(line)

    def pipeline(self, *arguments: str, line: Line) -> list[str]:
        """Runs a stage or command of the pipeline.

        Raises:
            CommandError: it failed.
        """
        return self.run([sys.executable, "-m", "pipeline", *arguments], line)

    def run(self, command: list[str], line: Line) -> list[str]:
        """Runs another command in the checkout.

        Raises:
            CommandError: it failed.
        """
        return run(command, self.folder, line, self._env)


@contextmanager
def workspace(plan: RunPlan, name: str, settings: Settings, env: Mapping[str, str]) -> Iterator[Workspace]:
    """A fresh checkout for one task, removed afterwards whatever happened."""
    folder = settings.scratch / "work" / plan.slug / f"{name}-{os.getpid()}"
    for left in folder.parent.glob(f"{name}-[0-9]*"):  # by an attempt that was killed
        if not _is_running(int(left.name.rpartition("-")[2])):
            shutil.rmtree(left, ignore_errors=True)
    try:
        check_out(settings.git, plan.commit, folder, settings.mirrors, env={**os.environ, **env})
        yield Workspace(folder, settings, env)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def run_stage(
    plan: RunPlan,
    name: str,
    store: RunStore,
    settings: Settings,
    *,
    line: Line,
    env: Mapping[str, str] | None = None,
    started: Callable[[Command], None] | None = None,
) -> StageResult:
    """Runs a stage if it is stale, and sends its lock entry back.

    Raises:
        CommandError: dvc or the stage failed.
        StaleError: the result does not belong to this run.
    """
    start = time.monotonic()
    remote = open_store(settings.remote, s3_credentials(env or {}, settings.endpoint))
    with workspace(plan, name, settings, env or {}) as space:
        starting = locks.parse(plan.starting_lock)
        space.overlay(plan, starting)
        upstream = load_fragments(store, plan.slug, locks.ancestors(space.graph, name))
        own = load_fragments(store, plan.slug, [name])
        before = locks.merge(starting, upstream | own)
        space.overlay(plan, before)
        # Never with --single-item: in a fresh clone whose upstream has changed it says "didn't change", exits with 0
        # and keeps the old model.
        arguments = ("--wait-for-lock", "repro", "--pull", "--allow-missing", name)
        watch = Stopwatch(line)
        space.dvc(*arguments, line=watch, started=started)
        after = space.lock()
        locks.check_fresh(space.graph, name, after, upstream)
        outs = after[name]["outs"]
        if objects.first_missing(remote, outs):
            space.dvc("push", name, line=line, started=started)
            if path := objects.first_missing(remote, outs):
                raise locks.StaleError(MISSING.format(name=name, path=path, remote=settings.remote))
        save_fragment(store, plan.slug, name, after[name])
        return StageResult(
            ran=after[name] != before.get(name),
            seconds=time.monotonic() - start,
            stage_seconds=watch.seconds,
            metrics=_metrics(remote, after[name]),
            page=_page(after[name], space.graph[name].meta.get("page")),
        )


class Stopwatch:
    """Passes lines of `dvc repro` on, and takes the time of the stage itself: its command, and the hashing of its outs.

    What a task takes beside that is the bridge's and DVC's own.
    """

    BEGINS = "Running stage "
    ENDS = ("Updating lock file ", "Generating lock file ")

    def __init__(self, line: Line) -> None:
        self._line = line
        self._began: float | None = None
        self.seconds = 0.0

    def __call__(self, text: str) -> None:
        """Looks at a line and passes it on."""
        if text.startswith(self.BEGINS):
            self._began = time.monotonic()
        elif text.startswith(self.ENDS) and self._began is not None:
            self.seconds += time.monotonic() - self._began
            self._began = None
        self._line(text)


def _metrics(remote: RunStore, entry: locks.Entry) -> dict[str, Any]:
    """A stage's metrics.json, whether it was written now or in an earlier run."""
    written = next((out for out in entry["outs"] if str(out["path"]).endswith("metrics.json")), None)
    text = objects.read_file(remote, written["md5"]) if written else None
    return dict(json.loads(text)) if text else {}


def _page(entry: locks.Entry, page: str | None) -> str | None:
    """Where the UI shows a file of a stage's outs: the out's checksum, then the file's path in it."""
    out = next((out for out in entry["outs"] if page and f"{page}/".startswith(f"{out['path']}/")), None)
    return f"{out['md5']}/{str(page).removeprefix(out['path']).lstrip('/')}".rstrip("/") if out else None
