"""Workers that share a git remote and a bucket, and no disk; and tasks of theirs that can be killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from plugins import lock as locks
from plugins.run_plan import RunPlan, save_fragment
from plugins.run_store import open_store
from plugins.settings import Settings
from tests.e2e.bridge import GIT, Site, site_of
from tests.e2e.conftest import Project
from tests.e2e.test_bridge_faults import processes_below
from tests.s3 import Server
from tests.tiny import ROOT

# One task of a worker that is to be killed: the same call as an operator's, in a process of its own.
TASK = """
import json, sys
from pathlib import Path
from plugins.run_plan import RunPlan
from plugins.run_store import open_store, s3_credentials
from plugins.settings import Settings
from plugins.stage_run import run_stage
given = json.loads(sys.argv[1])
settings = Settings(**given["settings"] | {"scratch": Path(given["settings"]["scratch"])})
store = open_store(settings.runs, s3_credentials(given["env"], settings.endpoint))
run_stage(RunPlan.load(store, given["slug"]), given["stage"], store, settings, line=print, env=given["env"])
"""


@dataclass(frozen=True)
class BucketSite(Site):
    """A site whose DVC remote and run store are in a bucket.

    Attributes:
        server: what the workers talk to.
    """

    server: Server
    bucket: str

    @classmethod
    def of(cls, project: Project, root: Path, server: Server) -> "BucketSite":
        """A new site on a project's commit, with a bucket of its own."""
        bucket = server.new_bucket()
        store = open_store(f"s3://{bucket}/runs", server.credentials)
        return cls(site_of(project, root).root, store, server, bucket)

    def settings(self, worker: str) -> Settings:
        """Of a worker, whose scratch is its own."""
        remote, runs = (f"s3://{self.bucket}/{name}" for name in ("dvc", "runs"))
        return replace(super().settings(worker), remote=remote, runs=runs, endpoint=self.server.endpoint)

    def env(self, worker: str) -> dict[str, str]:
        """With the bucket's keys, as an operator adds them from Airflow's connection."""
        keys = {name: value for name, value in self.server.env.items() if name != "AWS_ENDPOINT_URL"}
        return super().env(worker) | keys | {"COUNTERWEIGHT_S3_ENDPOINT": self.server.endpoint}

    def seen_through(self, port: int, secret: str | None = None) -> "BucketSite":
        """The same for workers that reach the bucket by another port, or have another secret."""
        server = replace(self.server, port=port, secret=secret or self.server.secret)
        return replace(self, server=server, store=open_store(f"s3://{self.bucket}/runs", server.credentials))

    def clone(self, name: str) -> Project:
        """A user's fresh clone, told where the data is in the file that git ignores."""
        project = Project(self.root / name)
        subprocess.run([*GIT, "clone", "--quiet", str(self.root / "origin.git"), project.root], check=True)
        options = {"endpointurl": self.server.endpoint, "access_key_id": self.server.key, "region": "us-east-1"}
        project.run("dvc", "remote", "add", "--local", "--default", "run", f"s3://{self.bucket}/dvc")
        for option, value in (options | {"secret_access_key": self.server.secret}).items():
            project.run("dvc", "remote", "modify", "--local", "run", option, value)
        return project

    def again(self, done: RunPlan, slug: str, without: str) -> RunPlan:
        """A run like one that is done, all upstream entries there; of the stage `without` nothing is left anywhere."""
        entries = self.entries(done)
        self.remove_outs(entries.pop(without))
        plan = replace(done, slug=slug, starting_lock=locks.dump(entries, entries), started_from=done.slug)
        plan.save(self.store)
        for name, entry in entries.items():
            save_fragment(self.store, slug, name, entry)
        return plan

    def objects(self, entry: locks.Entry) -> set[str]:
        """Keys in the bucket that a stage's outs consist of."""
        keys = set()
        for out in entry["outs"]:
            key = _key(out["md5"])
            keys.add(key)
            if out["md5"].endswith(".dir"):
                listing = self.server.client().get_object(Bucket=self.bucket, Key=key)["Body"].read()
                keys |= {_key(inside["md5"]) for inside in json.loads(listing)}
        return keys

    def remove_outs(self, entry: locks.Entry) -> None:
        """Deletes what a stage has made from the bucket."""
        for key in self.objects(entry):
            self.server.client().delete_object(Bucket=self.bucket, Key=key)

    @contextmanager
    def task(self, plan: RunPlan, stage: str, worker: str) -> Iterator[Callable[[], None]]:
        """Runs a stage's task in a process of its own; yields what kills it with every process that it started."""
        settings = self.settings(worker)
        shown = {**vars(settings), "scratch": str(settings.scratch)}
        given = {"settings": shown, "slug": plan.slug, "stage": stage, "env": self.env(worker)}
        command = [sys.executable, "-c", TASK, json.dumps(given)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as task:
            assert task.stdout is not None

            def kill() -> None:
                assert task.poll() is None, task.stdout and task.stdout.read()
                for pid in (task.pid, *processes_below(task.pid)):
                    os.kill(pid, signal.SIGKILL)
                assert task.wait() == -signal.SIGKILL

            try:
                yield kill
            finally:
                if task.poll() is None:
                    kill()


def _key(md5: str) -> str:
    return f"dvc/files/md5/{md5[:2]}/{md5[2:]}"
