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
from plugins.checkout import check_out
from plugins.dvc_graph import Stage, read_graph
from plugins.process import Command, run
from plugins.run_plan import RunPlan, load_fragments, save_fragment
from plugins.run_store import RunStore
from plugins.settings import Settings

Line = Callable[[str], None]


@dataclass(frozen=True)
class StageResult:
    """What became of a stage; the metrics of one that was skipped are fetched only where the run needs them."""

    ran: bool
    seconds: float
    metrics: dict[str, Any] | None


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
        """Lays the run's params.yaml, source.json and dvc.lock over the checkout, and points DVC at the remote."""
        (self.folder / "params.yaml").write_text(plan.params_yaml, encoding="utf-8")
        if plan.source_json:  # there is none before the first scan
            (self.folder / "source.json").write_text(plan.source_json, encoding="utf-8")
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
        space.dvc(*arguments, line=line, started=started)
        after = space.lock()
        locks.check_fresh(space.graph, name, after, upstream)
        space.dvc("push", name, line=line, started=started)
        check_outs_stored(space, name, after[name])
        save_fragment(store, plan.slug, name, after[name])
        metrics = _metrics(space, name)
        return StageResult(after[name] != before.get(name), time.monotonic() - start, metrics)


def _metrics(space: Workspace, name: str) -> dict[str, Any] | None:
    path = next((out for out in space.graph[name].outs if out.endswith("metrics.json")), None)
    if path is None:
        return None
    if not (space.folder / path).exists():
        if not space.graph[name].meta.get("decides"):
            return None
        space.dvc("pull", path, line=lambda _: None)
    content: dict[str, Any] = json.loads((space.folder / path).read_text(encoding="utf-8"))
    return content


def check_outs_stored(space: Workspace, name: str, entry: locks.Entry) -> None:
    """Makes sure that every out of a stage is in the remote, whether it was made now or skipped.

    Raises:
        StaleError: one is missing there.
    """
    assert entry.get("outs"), f"{name}: has no outs"
    status = json.loads(space.dvc("status", "--cloud", "--json", name, line=lambda _: None)[-1])
    # "deleted" is in the remote and not here: what a skipped stage should look like.
    missing = [path for path, state in status.items() if state != "deleted"]
    # Of a folder whose listing is nowhere, DVC says nothing at all.
    missing += [out["path"] for out in entry["outs"] if not _is_cached(space, out) and not _is_told(out, status)]
    if missing:
        raise locks.StaleError(f"{name}: {min(missing)} is not in the remote, though its lock entry names it")


def _is_cached(space: Workspace, out: Mapping[str, Any]) -> bool:
    md5 = str(out["md5"])
    return (space.folder / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).exists()


def _is_told(out: Mapping[str, Any], status: Mapping[str, str]) -> bool:
    return any(path == out["path"] or path.startswith(f"{out['path']}/") for path in status)
