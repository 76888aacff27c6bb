import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from plugins import lock as locks
from plugins.process import CommandError
from plugins.publish import PUBLISHED_FILES, promote, publish, reference
from plugins.run_plan import RunPlan, load_fragments, make_slug, save_fragment
from plugins.run_store import FolderStore
from plugins.settings import Settings
from tests.e2e.conftest import GIT

DVC_YAML = """stages:
  make:
    cmd: python -m pipeline make
    params: [make]
    outs: [data]
    meta: {queue: cpu}
  use:
    cmd: python -m pipeline use
    deps: [data]
    params:
      - looks.json: [test_splits]
    metrics: [metrics.json]
    meta: {queue: cpu}
"""
LOOKS = [{"number": 1, "images": "aa bb", "looks": ["first", "second"]}]
ENTRIES: locks.Lock = {
    "make": {
        "cmd": "python -m pipeline make",
        "params": {"params.yaml": {"make": {"seed": 7}}},
        "outs": [
            {"path": "data", "hash": "md5", "md5": "d751713988987e9331980363e24189ce.dir", "size": 0, "nfiles": 0}
        ],
    },
    "use": {
        "cmd": "python -m pipeline use",
        "deps": [
            {"path": "data", "hash": "md5", "md5": "d751713988987e9331980363e24189ce.dir", "size": 0, "nfiles": 0}
        ],
        "params": {"looks.json": {"test_splits": LOOKS}},
        "outs": [{"path": "metrics.json", "hash": "md5", "md5": "99914b932bd37a50b983c5e7c90ae93b", "size": 2}],
    },
}


class Night:
    """A git remote that holds a project of two stages, and a run of it whose stages have sent their entries back."""

    def __init__(self, root: Path) -> None:
        self.root, self.url, self.store = root, str(root / "origin.git"), FolderStore(root / "store")
        project = root / "project"
        (project / ".dvc").mkdir(parents=True)
        for name, text in {
            ".dvc/config": "",
            ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n",
            ".gitignore": "/data\n/metrics.json\n",
            "dvc.yaml": DVC_YAML,
            "params.yaml": "make: {seed: 0}\n",
            "looks.json": '{"test_splits": []}\n',
        }.items():
            (project / name).write_text(text)
        for arguments in (["init", "-b", "main"], ["add", "--all"], ["commit", "-m", "code"]):
            self.git(project, *arguments)
        self.git(root, "clone", "--bare", str(project), self.url)
        self.plan = RunPlan(
            slug=make_slug("scheduled__2026-01-02T02:00:00+00:00"),
            commit=self.git(project, "rev-parse", "HEAD"),
            created="2026-01-02T02:00:00+01:00",
            params_yaml="make: {seed: 7}  # größer\n",
            source_json='{"source": "ü"}\n',
            starting_lock="",
            started_from="",
        )

    def git(self, folder: Path, *arguments: str) -> str:
        done = subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def send(self, *stages: str) -> None:
        for stage in stages:
            save_fragment(self.store, self.plan.slug, stage, ENTRIES[stage])

    def settings(self, worker: str = "worker") -> Settings:
        return Settings(git=self.url, remote="unused", runs="unused", endpoint=None, scratch=self.root / worker)

    def publish(self, worker: str = "worker", plan: RunPlan | None = None) -> str:
        return publish(plan or self.plan, self.store, self.settings(worker), line=lambda _: None)


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


def test_one_commit_on_the_code_commit_with_four_files(night: Night) -> None:
    night.send("use", "make")
    commit = night.publish()
    assert night.git(night.root, "ls-remote", night.url, reference(night.plan)).split()[0] == commit
    assert night.git(Path(night.url), "rev-parse", f"{commit}^") == night.plan.commit
    assert night.git(Path(night.url), "rev-parse", "main") == night.plan.commit  # no branch has moved
    changed = night.git(Path(night.url), "diff", "--name-only", night.plan.commit, commit).split()
    assert tuple(changed) == PUBLISHED_FILES
    assert night.git(Path(night.url), "show", f"{commit}:params.yaml") + "\n" == night.plan.params_yaml
    assert night.git(Path(night.url), "show", f"{commit}:source.json") + "\n" == night.plan.source_json
    assert json.loads(night.git(Path(night.url), "show", f"{commit}:looks.json")) == {"test_splits": LOOKS}
    lock = locks.parse(night.git(Path(night.url), "show", f"{commit}:dvc.lock"))
    assert lock == ENTRIES
    assert list(lock) == ["make", "use"]
    assert night.git(Path(night.url), "show", "-s", "--format=%an %aI %cI", commit) == (
        "counterweight 2026-01-02T02:00:00+01:00 2026-01-02T02:00:00+01:00"
    )


def test_twice_and_from_another_worker_it_is_the_same_commit(night: Night) -> None:
    night.send("make", "use")
    assert night.publish() == night.publish() == night.publish("another worker")
    assert not list(night.root.glob("*worker/work/*/*"))


def test_another_run_s_commit_under_the_same_name_is_never_replaced(night: Night) -> None:
    night.send("make", "use")
    commit = night.publish()
    with pytest.raises(CommandError, match="git push"):
        night.publish(plan=replace(night.plan, params_yaml="make: {seed: 8}\n"))
    assert night.git(night.root, "ls-remote", night.url, reference(night.plan)).split()[0] == commit


@pytest.mark.parametrize(("sent", "missing"), [(("make",), "use"), ((), "make, use")])
def test_a_stage_that_sent_nothing_back_is_named_and_nothing_is_published(
    night: Night, sent: tuple[str, ...], missing: str
) -> None:
    night.send(*sent)
    with pytest.raises(locks.StaleError, match=f"^publish: {missing} sent nothing back in this run$"):
        night.publish()
    assert night.git(night.root, "ls-remote", night.url, "refs/exps/*") == ""


def test_dvc_lists_it_in_a_fresh_clone(night: Night) -> None:
    night.send("make", "use")
    night.publish()
    clone = night.root / "clone"
    night.git(night.root, "clone", night.url, str(clone))
    command = [sys.executable, "-m", "dvc", "exp", "list", "--all-commits", "--name-only", "origin"]
    done = subprocess.run(command, cwd=clone, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [night.plan.slug]


def test_a_promoted_run_bears_a_tag(night: Night) -> None:
    night.send("make", "use")
    commit = night.publish()
    for _ in range(2):
        tag = promote(night.plan, commit, night.settings(), line=lambda _: None)
        assert night.git(Path(night.url), "rev-parse", f"refs/tags/{tag}") == commit


def test_a_run_that_was_removed_is_not_promoted(night: Night) -> None:
    night.send("make", "use")
    commit = night.publish()
    night.git(Path(night.url), "update-ref", "-d", reference(night.plan))
    with pytest.raises(ValueError, match=f"^promote: run {night.plan.slug} is not published"):
        promote(night.plan, commit, night.settings(), line=lambda _: None)
    assert night.git(Path(night.url), "tag") == ""


def test_a_slug_is_a_name_that_git_takes_and_no_two_runs_share(night: Night) -> None:
    run_ids = [
        "manual__2026-01-02T02:00:00+00:00",
        "manual__2026-01-02T02:00:00-00:00",
        "a b/../~^:?*[\\",
        "Ü",
        "x" * 300,
    ]
    slugs = [make_slug(run_id) for run_id in run_ids]
    assert len(set(slugs)) == len(run_ids)
    for slug in slugs:
        night.git(night.root, "check-ref-format", f"refs/exps/ab/cd/{slug}")
        assert not slug.startswith("-")
        assert len(slug) <= 64
    assert make_slug(run_ids[0]) == slugs[0]


def test_a_plan_and_fragments_come_back_as_they_were_sent(night: Night) -> None:
    night.plan.save(night.store)
    night.plan.save(night.store)
    assert RunPlan.load(night.store, night.plan.slug) == night.plan
    with pytest.raises(ValueError, match=r"^run 'other' has no plan in the run store$"):
        RunPlan.load(night.store, "other")
    night.send("use")
    assert load_fragments(night.store, night.plan.slug, ["make", "use"]) == {"use": ENTRIES["use"]}
    assert json.loads(night.store.get(f"runs/{night.plan.slug}/fragments/use.json") or b"") == ENTRIES["use"]
