"""A git remote, a DVC remote and a run store with runs in them whose objects are made by hand."""

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from plugins import lock as locks
from plugins.kept import Policy
from plugins.lease import utc_now
from plugins.publish import promote, publish
from plugins.retention import Retention
from plugins.run_plan import RunPlan, save_fragment
from plugins.run_store import FolderStore
from plugins.settings import Settings
from tests.e2e.conftest import GIT

DVC_YAML = """stages:
  make:
    cmd: python -m pipeline make
    outs: [data]
    meta: {queue: cpu}
  use:
    cmd: python -m pipeline use
    deps: [data]
    outs: [model]
    meta: {queue: cpu}
"""
NOW = utc_now() + timedelta(days=30)  # all that a test writes is thirty days old
SLUGS = {"newest": 3, "second": 4, "promoted": 20, "old": 21}  # nights, and how many days ago they were
SHARED = b"a shard of all nights"
Out = dict[str, Any]


@dataclass
class Remains:
    """What has come together at a site; `now` is what retention takes for the time."""

    root: Path
    now: datetime = NOW
    lines: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, root: Path) -> "Remains":
        """A site without a run."""
        site, project = cls(root), root / "project"
        (project / ".dvc").mkdir(parents=True)
        (root / "remote").mkdir()
        files = {".dvc/config": "", "dvc.yaml": DVC_YAML, "params.yaml": "seed: 0\n", ".gitignore": "/data\n/model\n"}
        for name, text in files.items():
            (project / name).write_text(text)
        for arguments in (["init", "-b", "main"], ["add", "--all"], ["commit", "-m", "code"]):
            site.git(*arguments)
        site.git("clone", "--bare", ".", site.settings.git)
        return site

    def copy(self, root: Path) -> "Remains":
        """Another site that holds the same."""
        return Remains(Path(shutil.copytree(self.root, root)))

    @property
    def settings(self) -> Settings:
        places = {name: str(self.root / name) for name in ("remote", "runs")}
        return Settings(git=str(self.root / "origin.git"), **places, endpoint=None, scratch=self.root / "scratch")

    @property
    def store(self) -> FolderStore:
        return FolderStore(self.root / "runs")

    def git(self, *arguments: str, text: str = "") -> str:
        command, cwd = [*GIT, *arguments], self.root / "project"
        return subprocess.run(command, cwd=cwd, input=text, check=True, capture_output=True, text=True).stdout

    def file(self, content: bytes, path: str = "model") -> Out:
        """Puts an object into the remote; its entry as an out of dvc.lock."""
        self.put(md5(content), content)
        return {"path": path, "hash": "md5", "md5": md5(content), "size": len(content)}

    def folder(self, **files: bytes) -> Out:
        """Puts a folder's files and listing into the remote; its entry as an out of dvc.lock."""
        entries = [{"md5": self.file(content)["md5"], "relpath": name} for name, content in sorted(files.items())]
        listing = json.dumps(entries, sort_keys=True).encode()
        checksum = f"{md5(listing)}.dir"
        self.put(checksum, listing)
        return {"path": "data", "hash": "md5", "md5": checksum, "size": 0, "nfiles": len(files)}

    def put(self, checksum: str, content: bytes) -> None:
        self.object(checksum).parent.mkdir(parents=True, exist_ok=True)
        self.object(checksum).write_bytes(content)

    def object(self, checksum: str) -> Path:
        return self.root / "remote" / "files" / "md5" / checksum[:2] / checksum[2:]

    def rejuvenate(self, checksum: str, **ago: float) -> None:
        """Makes an object one of so long ago."""
        came = (self.now - timedelta(**ago)).timestamp()
        os.utime(self.object(checksum), (came, came))

    def plan(self, slug: str, days: float, starting: Mapping[str, locks.Entry] | None = None) -> RunPlan:
        """A run that began so many days ago."""
        plan = RunPlan(
            slug=slug,
            commit=self.git("rev-parse", "main").strip(),
            created=(self.now - timedelta(days=days)).isoformat(),
            params_yaml=f"seed: {slug}\n",
            source_json="{}\n",
            starting_lock=locks.dump(dict(starting), starting) if starting else "",
            started_from="",
        )
        plan.save(self.store)
        return plan

    def night(self, slug: str, days: float, data: Out, model: Out) -> str:
        """A published run; its commit."""
        plan = self.plan(slug, days)
        for stage, entry in entries(data, model).items():
            save_fragment(self.store, slug, stage, entry)
        return publish(plan, self.store, self.settings, line=lambda _: None)

    def branch(self, name: str, data: Out, model: Out) -> None:
        """A branch with a dvc.lock of its own."""
        lock = locks.dump(entries(data, model), ["make", "use"])
        self.git("checkout", "--quiet", "-b", name, "main")
        (self.root / "project" / "dvc.lock").write_text(lock)
        self.git("add", "dvc.lock")
        self.git("commit", "--quiet", "--message", name)
        self.git("push", "--quiet", self.settings.git, name)
        self.git("checkout", "--quiet", "main")

    def retention(self, keep: int = 1, days: float = 2, **more: Any) -> Retention:
        given = {"slug": "retain", "store": self.store, "active": lambda: 0, "line": self.lines.append} | more
        policy = Policy(keep=keep, min_age=timedelta(days=days))
        return Retention(policy=policy, settings=self.settings, clock=lambda: self.now, **given)

    def objects(self) -> set[str]:
        """Checksums of what the remote holds."""
        return {"".join(path.parts[-2:]) for path in (self.root / "remote").rglob("*") if path.is_file()}

    def references(self) -> dict[str, str]:
        """The commits that the git remote's references lead to; the code commit in an experiment's name left out."""
        rows = [line.split() for line in self.git("ls-remote", "--refs", self.settings.git).splitlines()]
        return {re.sub(r"[0-9a-f]{2}/[0-9a-f]{38}", "NIGHT", name): commit for commit, name in rows}

    def full_name(self, slug: str) -> str:
        """The reference that publishes a run."""
        lines = self.git("ls-remote", self.settings.git, f"refs/exps/*/{slug}").splitlines()
        return lines[0].split()[1]

    def state(self) -> tuple[dict[str, bytes], str, dict[str, bytes | None]]:
        """All that could be lost."""
        remote = {str(path): path.read_bytes() for path in (self.root / "remote").rglob("*") if path.is_file()}
        keys = self.store.keys("runs/")
        return remote, self.git("ls-remote", self.settings.git), {key: self.store.get(key) for key in keys}


def entries(data: Out, model: Out) -> locks.Lock:
    """What the stages of a run send back."""
    return {
        "make": {"cmd": "python -m pipeline make", "outs": [data]},
        "use": {"cmd": "python -m pipeline use", "deps": [data], "outs": [model]},
    }


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def data_of(site: Remains, slug: str) -> Out:
    return site.folder(shared=SHARED, own=f"data of {slug}".encode())


def model_of(site: Remains, slug: str) -> Out:
    return site.file(f"model of {'newest' if slug == 'second' else slug}".encode())


def whole(slug: str) -> set[str]:
    """All checksums of a night, worked out from what it consists of."""
    own, shared = md5(f"data of {slug}".encode()), md5(SHARED)
    listing = f'[{{"md5": "{own}", "relpath": "own"}}, {{"md5": "{shared}", "relpath": "shared"}}]'
    model = md5(f"model of {'newest' if slug == 'second' else slug}".encode())
    return {f"{md5(listing.encode())}.dir", own, shared, model}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Remains:
    """Four nights; the second has the newest one's model. Not to be changed: tests take a copy."""
    site = Remains.at(tmp_path_factory.mktemp("nights") / "site")
    for slug, days in SLUGS.items():
        commit = site.night(slug, days, data_of(site, slug), model_of(site, slug))
        if slug == "promoted":
            promote(RunPlan.load(site.store, slug), commit, site.settings, line=lambda _: None)
    return site


@pytest.fixture
def site(nights: Remains, tmp_path: Path) -> Remains:
    return nights.copy(tmp_path / "site")
