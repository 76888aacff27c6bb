"""What could go wrong on workers that share no disk, on a few stages: stale results, crashes, two runs at once."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from plugins import lock as locks
from plugins.lock import StaleError
from plugins.run_plan import RunPlan
from plugins.stage_run import Workspace
from tests.builders import image_folder
from tests.e2e.bridge import Night, Site, Watched, again, object_path, remove_objects, run_night, site_of, small_project
from tests.tiny import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.long]
FEW = ("ingest", "ingest_source", "analyze_bias", "augment")
# One task of a worker that is to be killed: the same call as an operator's, in a process of its own.
TASK = """
import json, sys
from pathlib import Path
from plugins.run_plan import RunPlan
from plugins.run_store import open_store
from plugins.settings import Settings
from plugins.stage_run import run_stage
given = json.loads(sys.argv[1])
settings = Settings(**given["settings"] | {"scratch": Path(given["settings"]["scratch"])})
store = open_store(settings.runs)
run_stage(RunPlan.load(store, given["slug"]), given["stage"], store, settings, line=print, env=given["env"])
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_folder(tmp_path_factory.mktemp("source") / "images", {"cat": 14, "dog": 7})


@pytest.fixture(scope="module")
def first(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """A few stages on a folder of images; not to be changed: tests take a copy."""
    root = tmp_path_factory.mktemp("first")
    project = small_project(root / "checkout", source, FEW)
    return run_night(site_of(project, root / "site"), "night-1")


@pytest.fixture
def site(first: Night, tmp_path: Path) -> Site:
    return first.site.copy(tmp_path / "site")


@pytest.fixture
def new_images(source: Path) -> Iterator[None]:
    image_folder(source, {"dog": 4}, start=100)
    yield
    for number in range(100, 104):
        (source / "dog" / f"{number}.png").unlink()


def test_what_a_changed_source_makes_stale_is_run_and_nothing_else(first: Night, site: Site, new_images: None) -> None:
    plan = site.scan("night-2")
    assert [batch["files"] for batch in yaml.safe_load(plan.source_json)["ingest"]["batches"]] == [21, 4]
    tasks = site.run_all(plan)
    assert {name for name, task in tasks.items() if task.result.ran} == set(FEW) - {"ingest_source"}
    assert {name: task.ran for name, task in tasks.items() if task.ran} == {
        name: {name} for name in FEW if name != "ingest_source"
    }

    # A user who has the first night's results, and whose source.json has the new batch, gets the same by `dvc repro`.
    clone = site.clone("user")
    clone.run("dvc", "exp", "pull", "origin", "night-1")
    clone.run("dvc", "exp", "apply", "night-1")
    (clone.root / "source.json").write_text(plan.source_json, encoding="utf-8")
    assert clone.repro() == set(FEW) - {"ingest_source"}
    assert site.entries(plan) == locks.parse((clone.root / "dvc.lock").read_text(encoding="utf-8"))
    old = first.site.entries(first.plan)
    assert all(site.entries(plan)[name]["outs"] != old[name]["outs"] for name in set(FEW) - {"ingest_source"})


def test_dvc_s_word_that_nothing_changed_is_not_taken_for_it(
    site: Site, new_images: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --single-item DVC itself says "didn't change" of a stage whose upstream did, and keeps the old result."""
    plan = site.scan("night-2")
    site.run(plan, "ingest")
    whole_graph = Workspace.dvc

    def single_item(self: Workspace, *arguments: str, **kwargs: object) -> list[str]:
        more = ("--single-item",) if "repro" in arguments else ()
        return whole_graph(self, *arguments, *more, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Workspace, "dvc", single_item)
        with pytest.raises(
            StaleError, match=r"^analyze_bias: used an older data/real/\w+ than ingest made in this run$"
        ):
            site.run(plan, "analyze_bias")
        assert "analyze_bias" not in site.entries(plan)  # what is stale is not sent back
    assert site.run(plan, "analyze_bias").ran == {"analyze_bias"}


@pytest.mark.parametrize("words", [("-m", "pipeline", "augment"), ("-m", "dvc", "push")], ids=["command", "push"])
def test_killed_in_the_middle_a_retry_ends_the_same(first: Night, site: Site, words: tuple[str, ...]) -> None:
    plan = again(site, first.plan, "night-2", without="augment")
    kill_in_the_middle(site, plan, "augment", words, worker="same")
    assert "augment" not in site.entries(plan)
    task = site.run(plan, "augment", worker="same")
    assert task.ran == {"augment"}
    assert site.entries(plan)["augment"] == first.site.entries(first.plan)["augment"]


def test_dead_between_push_and_lock_entry_a_retry_ends_the_same(first: Night, site: Site) -> None:
    plan = again(site, first.plan, "night-2", without="augment")
    failing = Watched(site.store, site, failures=[OSError("the connection was cut")])
    with pytest.raises(OSError, match="cut"):
        site.run(plan, "augment", failing)
    assert "augment" not in site.entries(plan)
    assert site.run(plan, "augment", failing).ran == {"augment"}
    assert any("data/augmented" in path for path in failing.on_disk)  # a stage that runs has its data on disk
    assert site.entries(plan)["augment"] == first.site.entries(first.plan)["augment"]
    # And once more, as when Airflow never learned that the task was done.
    assert site.run(plan, "augment").ran == set()


def test_two_runs_at_once_do_not_disturb_each_other(first: Night, site: Site) -> None:
    def run(slug: str, seed: int) -> tuple[RunPlan, list[set[str]]]:
        plan = site.scan(slug, worker=slug, augment__seed=seed)
        return plan, [site.run(plan, stage, worker="same").ran for stage in FEW]

    with ThreadPoolExecutor(2) as pool:
        (one, one_ran), (other, other_ran) = pool.map(run, ("night-2", "night-3"), (1, 2))
    assert one_ran == other_ran == [set(), set(), set(), {"augment"}]
    outs = [site.entries(plan)["augment"]["outs"] for plan in (first.plan, one, other)]
    assert len({str(out) for out in outs}) == 3
    alone = again(site, other, "night-4", without="augment")
    assert site.run(alone, "augment").ran == {"augment"}
    assert site.entries(alone) == site.entries(other)


@pytest.mark.parametrize(
    "lost", ["data/augmented", "data/augmented/00000-00000.parquet", "results/augment/metrics.json"]
)
def test_a_skipped_stage_whose_result_is_lost_is_told_in_one_line(first: Night, site: Site, lost: str) -> None:
    outs = {out["path"]: out for out in first.site.entries(first.plan)["augment"]["outs"]}
    if lost in outs:
        remove_objects(site, [outs[lost]])
    else:  # the folder's listing is still there
        files = json.loads(object_path(site, outs["data/augmented"]["md5"]).read_text())
        object_path(site, next(file["md5"] for file in files if lost.endswith(file["relpath"]))).unlink()
    with pytest.raises(StaleError, match=f"^augment: {lost} is not in .*, though dvc.lock names it: "):
        site.run(again(site, first.plan, "night-2"), "augment")


def kill_in_the_middle(site: Site, plan: RunPlan, stage: str, words: tuple[str, ...], worker: str) -> None:
    """Starts a task in a process of its own, and kills it with all its processes while one with these words runs."""
    settings = site.settings(worker)
    given = {
        "settings": {**vars(settings), "scratch": str(settings.scratch)},
        "slug": plan.slug,
        "stage": stage,
        "env": site.env(worker),
    }
    command = [sys.executable, "-c", TASK, json.dumps(given)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as task:
        deadline = time.monotonic() + 60
        while not any(words == command[1 : len(words) + 1] for command in processes_below(task.pid).values()):
            assert task.poll() is None, task.stdout and task.stdout.read()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        for pid in (task.pid, *processes_below(task.pid)):
            os.kill(pid, signal.SIGKILL)
    assert task.returncode == -signal.SIGKILL


def processes_below(pid: int) -> dict[int, tuple[str, ...]]:
    """Command lines of all processes that descend from `pid`."""
    parents, commands = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            commands[int(folder.name)] = tuple((folder / "cmdline").read_text().split("\0"))
        except OSError:
            continue
    found, todo = {}, [pid]
    while todo:
        parent = todo.pop()
        children = [child for child, owner in parents.items() if owner == parent and child in commands]
        found |= {child: commands[child] for child in children}
        todo += children
    return found
