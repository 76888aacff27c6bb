"""Workers that share nothing but a git remote, a DVC remote and a run store: what the tests of the bridge work with."""

import json
import shutil
import subprocess
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from plugins import lock as locks
from plugins.dvc_graph import read_graph
from plugins.planning import scan
from plugins.publish import publish
from plugins.run_plan import RunPlan, load_fragments, save_fragment
from plugins.run_store import FolderStore, RunStore
from plugins.settings import Settings
from plugins.stage_run import StageResult, run_stage
from tests.e2e.conftest import GIT, Project, checkout, stages_run


@dataclass(frozen=True)
class Task:
    """What a task did and said."""

    result: StageResult
    lines: list[str]

    @property
    def ran(self) -> set[str]:
        """The stages that DVC says it ran."""
        return stages_run("\n".join(self.lines))


@dataclass(frozen=True)
class Site:
    """What all workers share."""

    root: Path
    store: RunStore = field(repr=False)

    @classmethod
    def at(cls, root: Path) -> "Site":
        """The site in a folder."""
        return cls(root, FolderStore(root / "runs"))

    def copy(self, root: Path) -> "Site":
        """Another site that holds the same."""
        return Site.at(Path(shutil.copytree(self.root, root)))

    def settings(self, worker: str) -> Settings:
        """Of a worker, whose scratch is its own."""
        return Settings(
            git=str(self.root / "origin.git"),
            remote=str(self.root / "remote"),
            runs=str(self.root / "runs"),
            endpoint=None,
            scratch=self.root / "workers" / worker,
        )

    def env(self, worker: str) -> dict[str, str]:
        """As in `finished`, so that hashes can be equal; DVC's site cache is a worker's own too."""
        site_cache = str(self.settings(worker).scratch / "dvc-site-cache")
        return {"OMP_NUM_THREADS": "1", "COUNTERWEIGHT_WORKERS": "1", "DVC_SITE_CACHE_DIR": site_cache}

    def forget(self, worker: str) -> None:
        """Deletes a worker's scratch."""
        shutil.rmtree(self.settings(worker).scratch, ignore_errors=True)

    def scan(self, slug: str, worker: str = "scan", **changes: Any) -> RunPlan:
        """Settles a run; `a__b=1` changes a.b of params.yaml."""
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        created = "2026-01-02T03:04:05+00:00"
        settings, env = self.settings(worker), self.env(worker)
        plan = scan(slug, "main", dotted, created, self.store, settings, line=lambda _: None, env=env)
        plan.save(self.store)
        self.forget(worker)
        return plan

    def run(self, plan: RunPlan, stage: str, store: RunStore | None = None, worker: str = "") -> Task:
        """Runs a stage on a worker of its own, whose scratch is deleted afterwards, or on the worker named."""
        lines: list[str] = []
        settings, env = self.settings(worker or stage), self.env(worker or stage)
        result = run_stage(plan, stage, store or self.store, settings, line=lines.append, env=env)
        assert not list((settings.scratch / "work" / plan.slug).glob(f"{stage}-*[0-9]"))
        if not worker:
            self.forget(stage)
        return Task(result, lines)

    def run_all(self, plan: RunPlan, store: RunStore | None = None) -> dict[str, Task]:
        """Runs all stages, two at once where the graph lets them."""
        graph = {name: stage.upstream for name, stage in read_graph(self.root / "project").items()}
        order, running, done = TopologicalSorter(graph), {}, {}
        order.prepare()
        with ThreadPoolExecutor(2) as pool:
            while order.is_active():
                running |= {pool.submit(self.run, plan, stage, store): stage for stage in order.get_ready()}
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    stage = running.pop(future)
                    done[stage] = future.result()
                    order.done(stage)
        return done

    def publish(self, plan: RunPlan) -> str:
        """Publishes a run."""
        commit = publish(plan, self.store, self.settings("publish"), line=lambda _: None)
        self.forget("publish")
        return commit

    def stages(self) -> list[str]:
        """All stages, in the graph's order."""
        return list(read_graph(self.root / "project"))

    def entries(self, plan: RunPlan) -> locks.Lock:
        """The lock entries that the stages of a run have sent back."""
        return load_fragments(self.store, plan.slug, self.stages())

    def clone(self, name: str) -> Project:
        """A user's fresh clone, told where the data is in the file that git ignores."""
        project = Project(self.root / name)
        subprocess.run([*GIT, "clone", "--quiet", str(self.root / "origin.git"), project.root], check=True)
        project.run("dvc", "remote", "add", "--local", "--default", "run", str(self.root / "remote"))
        return project


def site_of(project: Project, root: Path) -> Site:
    """A site whose git remote holds what the project has committed, and nothing else anywhere."""
    shutil.copytree(project.root, root / "project", ignore=shutil.ignore_patterns("cache", "tmp", "data", "models"))
    project.run(*GIT, "clone", "--quiet", "--bare", ".", str(root / "origin.git"))
    return Site.at(root)


def small_project(root: Path, source: Path, stages: Iterable[str]) -> Project:
    """The project with some of its stages, on a source of one's own."""
    project = checkout(root)
    content = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))
    content["stages"] = {name: content["stages"][name] for name in stages}
    (root / "dvc.yaml").write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    project.change({"ingest": {"source": str(source)}, "ingest_source": {"source": "none"}})
    project.commit()
    return project


def again(site: Site, done: RunPlan, slug: str, without: str = "") -> RunPlan:
    """A run like one that is done, all upstream entries there; of the stage `without` nothing is left anywhere."""
    entries = site.entries(done)
    if without:
        remove_objects(site, entries.pop(without)["outs"])
    plan = replace(done, slug=slug, starting_lock=locks.dump(entries, entries), started_from=done.slug)
    plan.save(site.store)
    for name, entry in entries.items():
        save_fragment(site.store, slug, name, entry)
    return plan


def remove_objects(site: Site, outs: list[dict[str, Any]]) -> None:
    """Deletes from the remote what a stage has made."""
    for out in outs:
        path = object_path(site, out["md5"])
        if out["md5"].endswith(".dir"):
            for inside in json.loads(path.read_text()):
                object_path(site, inside["md5"]).unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def object_path(site: Site, md5: str) -> Path:
    """Where the remote keeps an object."""
    return site.root / "remote" / "files" / "md5" / md5[:2] / md5[2:]


@dataclass(frozen=True)
class Night:
    """A run that is done and published."""

    site: Site
    plan: RunPlan
    tasks: dict[str, Task]


@dataclass(frozen=True)
class Watched:
    """A run store; when a lock entry is sent, what lies on the workers is noted, or that once fails."""

    store: RunStore
    site: Site
    on_disk: list[str] = field(default_factory=list)
    failures: list[OSError] = field(default_factory=list)

    def put(self, key: str, data: bytes) -> None:
        if self.failures:
            raise self.failures.pop()
        tasks = (self.site.root / "workers" / Path(key).stem).glob("work/*/*")
        folders = [task / name for task in tasks for name in (".dvc/cache/files/md5", "data", "models", "results")]
        found = (path for folder in folders for path in folder.rglob("*") if path.is_file())
        self.on_disk.extend(str(path) for path in found if path.suffix != ".dir")  # a folder's listing is no data
        self.store.put(key, data)

    def get(self, key: str) -> bytes | None:
        return self.store.get(key)

    def keys(self, prefix: str) -> list[str]:
        return self.store.keys(prefix)

    def delete(self, key: str) -> None:
        self.store.delete(key)


def run_night(site: Site, slug: str) -> Night:
    plan = site.scan(slug)
    tasks = site.run_all(plan)
    site.publish(plan)
    return Night(site, plan, tasks)
