"""Removing old runs of the real pipeline: what is kept comes back bit for bit, from a folder and from an S3 server."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from plugins import lock as locks
from plugins.kept import Policy
from plugins.lease import utc_now
from plugins.publish import promote, publish, reference
from plugins.retention import Retention
from plugins.run_plan import RunPlan, save_fragment
from plugins.run_store import RunStore, open_store
from plugins.settings import Settings
from tests.builders import digests, image_folder
from tests.e2e.bridge import Site, object_path, site_of, small_project
from tests.e2e.conftest import GIT, Project
from tests.e2e.test_bridge_faults import processes_below
from tests.s3 import REGION, Server, server
from tests.tiny import ROOT

__all__ = ["server"]  # a fixture
pytestmark = [pytest.mark.e2e, pytest.mark.long]
FEW = ("ingest", "analyze_bias", "augment")
NOW = utc_now() + timedelta(days=30)  # what retention takes for the time: all that a test writes is old
# The seed that each night augments with, and how many days ago it was; `making` is not published yet.
NIGHTS = {"old": (1, 21), "promoted": (2, 20), "from": (4, 19), "kept": (3, 5), "making": (4, 1)}
JUNK = 20_000
# A retention that is to be killed, in a process of its own.
TASK = """
import json, sys
from datetime import datetime
from pathlib import Path
from plugins.kept import Policy
from plugins.retention import Retention
from plugins.run_store import open_store
from plugins.settings import Settings
given = json.loads(sys.argv[1])
settings, now = Settings(**given | {"scratch": Path(given["scratch"])}), datetime.fromisoformat(sys.argv[2])
store = open_store(settings.runs)
Retention(slug="retain", policy=Policy(keep=1), store=store, settings=settings, active=int, line=print,
          clock=lambda: now).remove()
"""


@dataclass(frozen=True)
class Nights:
    """Runs that differ in the seed of their last stage, and what each has made, by seed."""

    site: Site
    plans: dict[str, RunPlan]
    made: dict[int, dict[str, dict[str, str]]]
    locks: dict[int, locks.Lock]

    def copy(self, root: Path) -> "Nights":
        return replace(self, site=self.site.copy(root))

    def objects_of(self, *seeds: int) -> set[str]:
        """Checksums of all that nights with these seeds have made, those of folders' files among them."""
        outs = [out["md5"] for seed in seeds for entry in self.locks[seed].values() for out in entry["outs"]]
        listings = [json.loads(object_path(self.site, md5).read_text()) for md5 in outs if md5.endswith(".dir")]
        return {*outs, *(entry["md5"] for listing in listings for entry in listing)}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Not to be changed: tests take a copy."""
    root = tmp_path_factory.mktemp("nights")
    source = image_folder(root / "source", {"cat": 14, "dog": 7})
    project = small_project(root / "checkout", source, FEW)
    site = site_of(project, root / "site")
    project.run("dvc", "remote", "add", "--local", "--default", "run", str(site.root / "remote"))
    project.run("python", "-m", "pipeline", "scan")
    code = project.run("git", "rev-parse", "HEAD").stdout.strip()
    nights, texts = Nights(site, {}, {}, {}), {}
    for seed in sorted({seed for seed, _ in NIGHTS.values()}):
        project.change({"augment": {"seed": seed}})
        project.repro()
        project.commit()
        nights.locks[seed] = locks.parse((project.root / "dvc.lock").read_text(encoding="utf-8"))
        nights.made[seed] = outs_of(project)
        texts[seed] = (project.root / "params.yaml").read_text(encoding="utf-8")
    project.run("dvc", "push", "--all-commits")
    for slug, (seed, days) in NIGHTS.items():
        plan = RunPlan(
            slug=slug,
            commit=code,
            created=(NOW - timedelta(days=days)).isoformat(),
            params_yaml=texts[seed],
            source_json=(project.root / "source.json").read_text(encoding="utf-8"),
            starting_lock=locks.dump(nights.locks[seed], FEW) if slug == "making" else "",
            started_from="",
        )
        plan.save(site.store)
        nights.plans[slug] = plan
        for stage in FEW[:2] if slug == "making" else FEW:
            save_fragment(site.store, slug, stage, nights.locks[seed][stage])
        if slug != "making":
            commit = publish(plan, site.store, site.settings("publish"), line=lambda _: None)
        if slug == "promoted":
            promote(plan, commit, site.settings("publish"), line=lambda _: None)
    return nights


def outs_of(project: Project) -> dict[str, dict[str, str]]:
    outs = [out for stage in project.outs().values() for out in stage]
    return {out: digests(project.root / out) or {"": (project.root / out).read_bytes().hex()} for out in outs}


def retention(settings: Settings, store: RunStore, env: dict[str, str]) -> Retention:
    policy = Policy(keep=1, min_age=timedelta(days=2))
    return Retention(
        slug="retain",
        policy=policy,
        store=store,
        settings=settings,
        active=lambda: 0,
        line=print,
        env=env,
        clock=lambda: NOW,
    )


def remove(site: Site) -> None:
    retention(site.settings("retain"), site.store, site.env("retain")).remove()


def objects(site: Site) -> list[Path]:
    return [path for path in (site.root / "remote" / "files").rglob("*") if path.is_file()]


def stored(site: Site) -> set[str]:
    return {"".join(path.parts[-2:]) for path in objects(site)}


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def references(site: Site) -> set[str]:
    lines = subprocess.run([*GIT, "ls-remote", site.root / "origin.git"], check=True, capture_output=True, text=True)
    return {line.rpartition("/")[2] for line in lines.stdout.splitlines()}


def check_back(clone: Project, nights: Nights, slugs: Iterable[str]) -> None:
    """A night's data comes back bit for bit to somebody who has nothing, and nothing is to be done."""
    for slug in slugs:
        shutil.rmtree(clone.root / ".dvc" / "cache", ignore_errors=True)
        clone.run("git", "fetch", "--quiet", "origin", reference(nights.plans[slug]))
        clone.run("git", "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
        clone.run("dvc", "pull", "--force")
        assert outs_of(clone) == nights.made[NIGHTS[slug][0]]
        assert clone.repro() == set()


def test_what_is_kept_comes_back_bit_for_bit_and_a_run_in_the_making_goes_on(nights: Nights, tmp_path: Path) -> None:
    nights = nights.copy(tmp_path / "site")
    site, plan = nights.site, nights.plans["making"]
    all_nights, left = nights.objects_of(1, 2, 3, 4), nights.objects_of(2, 3, 4)
    assert stored(site) == all_nights
    assert len(all_nights - left) == 2  # a listing and its shard are the old night's alone
    remove(site)
    assert stored(site) == left
    assert {"old", "from"}.isdisjoint(references(site))
    assert {key.split("/")[1] for key in site.store.keys("runs/")} == {"promoted", "kept", "making"}

    assert site.run(plan, "augment").ran == set()  # its night has gone, but not what this run starts from
    site.publish(plan)
    check_back(site.clone("back"), nights, ("kept", "promoted", "making"))


def test_killed_in_the_middle_it_stops_and_the_next_time_does_the_rest(nights: Nights, tmp_path: Path) -> None:
    nights = nights.copy(tmp_path / "site")
    site, left = nights.site, nights.objects_of(2, 3, 4)
    junk = [object_path(site, f"00{number:030x}") for number in range(JUNK)]
    junk[0].parent.mkdir(exist_ok=True)
    for path in junk:
        path.touch()
    settings = site.settings("retain")
    given = json.dumps({**vars(settings), "scratch": str(settings.scratch)})
    environment = {**os.environ, **site.env("retain")}
    command = [sys.executable, "-c", TASK, given, NOW.isoformat()]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as task:
        deadline = time.monotonic() + 60
        while junk[0].exists():
            assert task.poll() is None
            assert time.monotonic() < deadline
        below = processes_below(task.pid)
        os.kill(task.pid, signal.SIGKILL)
    assert len(below) == 1  # the process that removes notices that nobody listens any more
    while is_running(*below):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert junk[-1].exists()
    assert left < stored(site)
    remove(site)
    assert stored(site) == left
    for path in objects(site):
        assert "".join(path.parts[-2:]) == hashlib.md5(path.read_bytes()).hexdigest() + path.suffix  # noqa: S324


def test_on_an_s3_server_it_is_the_same(nights: Nights, server: Server, tmp_path: Path) -> None:
    site, bucket = nights.copy(tmp_path / "site").site, server.new_bucket()
    server.upload(site.root / "remote", bucket, "dvc/")
    server.upload(site.root / "runs", bucket, "state/")
    s3 = {"remote": f"s3://{bucket}/dvc", "runs": f"s3://{bucket}/state", "endpoint": server.endpoint}
    settings = replace(site.settings("retain"), **s3)
    store = open_store(settings.runs, server.credentials)
    left, keys = nights.objects_of(2, 3, 4), server.keys(bucket)
    act = retention(settings, store, {**site.env("retain"), **server.env})
    told = act.look()
    assert server.keys(bucket) == keys
    assert act.remove() == told | {"removed": True}
    assert {"".join(key.split("/")[-2:]) for key in server.keys(bucket, "dvc/")} == left
    assert {key.split("/")[2] for key in server.keys(bucket, "state/")} == {"promoted", "kept", "making"}
    clone = site.clone("back")
    (clone.root / ".dvc" / "config.local").write_text(
        f"[core]\n    remote = run\n['remote \"run\"']\n    url = {settings.remote}\n    region = {REGION}\n"
        f"    endpointurl = {server.endpoint}\n    access_key_id = {server.key}\n"
        f"    secret_access_key = {server.secret}\n"
    )
    check_back(clone, nights, ("kept",))
