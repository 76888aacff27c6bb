"""A site with log-ins: data in an object store, code on a git server, both open only to Airflow's connections."""

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from plugins import lock as locks
from tests.airflow.git_server import serve
from tests.airflow.leaks import leaks, places_at, places_in
from tests.airflow.running import Airflow, published, running
from tests.builders import image_folder
from tests.e2e.bridge import small_project
from tests.e2e.conftest import GIT, Project
from tests.s3 import BUCKET, Server, server

__all__ = ["server"]
FEW = ("ingest", "ingest_source", "analyze_bias", "augment")
LOGIN, PASSWORD = "nightly", secrets.token_hex(16)


@dataclass(frozen=True)
class Site:
    """A running Airflow, what it works on and with."""

    airflow: Airflow
    server: Server
    root: Path
    source: Path
    origin: Project
    url: str

    def run(self, **changes: Any) -> str:
        """Triggers a run; returns its id."""
        run = self.airflow.trigger(**changes)
        self.airflow.set_state(run, "hand_over", "success")  # of so few stages none gives a verdict
        return run

    def lock(self, run: str) -> locks.Lock:
        """What a run has published."""
        return published(self.origin, self.airflow.result(run, "publish")["reference"])

    def lose(self, run: str, stage: str, out: str | None = None) -> None:
        """Deletes an out from the object store, or all that a stage made and the lock entry it sent back."""
        outs = {found["path"]: found["md5"] for found in self.lock(run)[stage]["outs"]}
        keys = [f"dvc/files/md5/{md5[:2]}/{md5[2:]}" for path, md5 in outs.items() if out in (None, path)]
        if out is None:
            keys.append(f"runs/{self.airflow.result(run, 'scan')['slug']}/fragments/{stage}.json")
        held = set(self.server.keys(BUCKET)).intersection(keys)
        assert held
        with closing(self.server.client()) as client:
            for key in held:
                client.delete_object(Bucket=BUCKET, Key=key)

    def commit(self, branch: str, **values: Any) -> None:
        """Changes values of params.yaml on a branch of the git remote, section by section."""
        clone = self.origin.clone(self.root / f"a user's clone for {branch}")
        clone.change(values)
        clone.commit()
        clone.run("git", "push", "--quiet", "origin", f"HEAD:{branch}")

    def error(self, run: str, task: str) -> str:
        """The one line of a task's log that says why it failed, at its first try."""
        ended = self.airflow.wait(run, until=task)[task]
        assert ended["state"] == "failed"
        entries = [entry for entry in self.airflow.entries(run, task) if entry.get("level") in ("error", "critical")]
        lines = [str(entry["event"]) for entry in entries]
        assert lines[1:] == ["Task failed with exception"], lines
        assert [detail["exc_value"] for detail in entries[1]["error_detail"]] == lines[:1]
        return lines[0]


@pytest.fixture(scope="module")
def site(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("with-keys")
    source = image_folder(root / "source", {"cat": 14, "dog": 7})
    project = small_project(root / "counterweight", source, FEW)
    project.run(*GIT, "clone", "--quiet", "--bare", ".", str(root / "git" / "origin.git"))
    with serve(root / "git", LOGIN, PASSWORD) as url:
        given = {
            "COUNTERWEIGHT_GIT": f"{url}/origin.git",
            "COUNTERWEIGHT_REMOTE": f"s3://{BUCKET}/dvc",
            "COUNTERWEIGHT_RUNS": f"s3://{BUCKET}",
            "COUNTERWEIGHT_S3_ENDPOINT": server.endpoint,
            "COUNTERWEIGHT_AWS_CONN_ID": "object_store",
            "COUNTERWEIGHT_GIT_CONN_ID": "git_server",
            "AIRFLOW_CONN_OBJECT_STORE": connection("aws", server.key, server.secret),
            "AIRFLOW_CONN_GIT_SERVER": connection("git", LOGIN, PASSWORD),
        }
        with running(project, **given) as airflow:
            yield Site(airflow, server, root, source, Project(root / "git" / "origin.git"), f"{url}/origin.git")


def connection(kind: str, login: str, password: str) -> str:
    return json.dumps({"conn_type": kind, "login": login, "password": password})


@pytest.fixture(scope="module")
def night(site: Site) -> str:
    """The first night's run."""
    run = site.airflow.unpause()
    site.airflow.set_state(run, "hand_over", "success")
    site.airflow.wait(run)
    return run


@pytest.fixture(scope="module")
def later(site: Site, night: str) -> str:
    """A run after the source has got new images and main has moved on."""
    image_folder(site.source, {"dog": 4}, start=100)
    site.commit("main", augment={"seed": 1})
    run = site.run()
    site.airflow.wait(run)
    return run


def test_a_night_runs_all_stages_and_publishes_them(site: Site, night: str) -> None:
    assert set(site.airflow.states(night).values()) == {"success"}
    assert [name for name in FEW if site.airflow.result(night, name)["ran"]] == list(FEW)
    assert list(site.lock(night)) == list(FEW)
    assert site.origin.run("git", "ls-remote", site.url, check=False, GIT_TERMINAL_PROMPT="0").returncode != 0


def test_an_old_run_runs_again_as_it_was_though_source_and_main_have_moved_on(
    site: Site, night: str, later: str
) -> None:
    before, moved = site.lock(night), site.lock(later)
    assert [name for name in FEW if before[name]["outs"] == moved[name]["outs"]] == ["ingest_source"]
    commits = [site.airflow.result(run, "publish")["commit"] for run in (night, later)]
    site.lose(night, "augment")  # so that there is something to do
    site.airflow.clear(night, ["scan", *FEW, "publish"])
    tasks = site.airflow.wait(night)
    assert {tasks[name]["state"] for name in tasks} == {"success"}
    said = [line for line in site.airflow.log(night, "scan") if line.startswith("scan: ")]
    assert len(said) == 1
    assert said[0].endswith("was scanned before; its code, parameters and source.json are used again")
    assert [name for name in FEW if site.airflow.result(night, name)["ran"]] == ["augment"]
    assert site.lock(night) == before
    assert [site.airflow.result(run, "publish")["commit"] for run in (night, later)] == commits


def test_an_unknown_revision_is_told(site: Site, night: str) -> None:
    told = site.error(site.run(revision="no-such"), "scan")
    assert told == f"revision 'no-such' is not in {site.url}; push it, or name another"


def test_a_source_that_is_not_there_is_told(site: Site, night: str) -> None:
    told = site.error(site.run(ingest__source="/no/such/folder"), "scan")
    assert told.startswith("source '/no/such/folder' does not exist")


def test_a_wrong_value_of_a_revision_is_told(site: Site, night: str) -> None:
    site.commit("wrong", augment={"policy": {"rotation_degrees": "much"}})
    told = site.error(site.run(revision="wrong"), "scan")
    assert told == "params.yaml: augment.policy.rotation_degrees should be a valid number, got 'much'"


def test_a_lost_result_of_a_stage_that_is_skipped_is_told(site: Site, later: str) -> None:
    site.lose(later, "ingest", "data/real/test")
    told = site.error(site.run(), "ingest")
    assert told.startswith(f"ingest: data/real/test is not in s3://{BUCKET}/dvc, though dvc.lock names it: ")


def test_a_source_that_no_longer_holds_what_is_pinned_is_told_where_a_stage_is_to_be_made_again(
    site: Site, later: str
) -> None:
    site.lose(later, "ingest")
    (site.source / "dog" / "101.png").unlink()
    shutil.rmtree(site.root / "counterweight" / ".airflow" / "scratch" / "cache")  # as on a worker that is new
    site.airflow.clear(later, ["ingest"])
    told = site.error(later, "ingest")
    assert told.startswith(f"{site.source}: no longer holds what source.json pins as batch 1 (4 files, ")


def test_no_key_and_no_password_is_left_anywhere(site: Site, night: str) -> None:
    """In no log, database, run store, data, or git history; comes last, so that failures are looked through too."""
    wanted = (site.server.secret, PASSWORD, f"{LOGIN}:{PASSWORD}")
    looked = [*places_in(site.root), *places_at(site.server, BUCKET)]
    names = " ".join(place for place, _ in looked)
    parts = ("task_id=augment", "airflow.db: its rows", "origin.git: its objects", "/mirrors/", "/plan.json", "/dvc/")
    assert [part for part in parts if part not in names] == []
    found = leaks(iter(looked), *wanted)
    assert not found, "\n".join(found)
