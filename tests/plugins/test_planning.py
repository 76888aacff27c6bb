import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.checkout import UnknownRevisionError, update_mirror
from plugins.planning import changed, scan
from plugins.process import CommandError
from plugins.references import AUTHOR, published
from plugins.run_plan import RunPlan
from plugins.run_store import FolderStore
from plugins.settings import Settings
from tests.builders import image_folder
from tests.e2e.conftest import GIT, Project, checkout
from tests.tiny import ROOT

TEXT = """# of all
ingest:
  source: 'builtin:digits'   # where from
  digits: {n_max: 40}   # flow style
train:
  lr: 1e-3          # kept as it is
  steps: 2000
  name: vae
"""


def test_changed_values_keep_every_comment_and_all_else_as_it_was() -> None:
    got = changed(TEXT, {"train.steps": 5, "train.name": "gan: no", "ingest.digits.n_max": 70})
    assert got == TEXT.replace("2000", "5").replace("vae", "'gan: no'").replace("40", "70")
    assert yaml.safe_load(got)["train"]["name"] == "gan: no"
    assert changed(TEXT, {}) == TEXT


def test_the_project_s_own_params_keep_every_line_but_the_changed_one() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    got = changed(text, {"train_classifier.seeds": 7, "ingest.source": "/a/größe " + "x" * 200})
    lines = [(old, new) for old, new in zip(text.splitlines(), got.splitlines(), strict=True) if old != new]
    assert [old.split(":")[0] for old, _ in lines] == ["  source", "  seeds"]
    assert all(old.partition("#")[2] == new.partition("#")[2] for old, new in lines)


@pytest.mark.parametrize("key", ["train.stepz", "trian.steps", "train", "train.steps.x", "", "steps", "ingest.source."])
def test_a_key_that_is_not_there_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"^params\.yaml has no .* to change$"):
        changed(TEXT, {key: 1} if key != "train" else {"train.": 1})


class Remote:
    """A bare git remote that holds the project with small numbers and a source of 17 images."""

    def __init__(self, root: Path) -> None:
        self.source = image_folder(root / "source", {"cat": 12, "dog": 5})
        project = checkout(root / "project")
        project.change({"ingest": {"source": str(self.source)}, "ingest_source": {"source": "none"}})
        project.commit()
        self.project, self.url = project, str(root / "origin.git")
        project.run(*GIT, "clone", "--quiet", "--bare", ".", self.url)

    def settings(self, scratch: Path) -> Settings:
        return Settings(git=self.url, remote="unused", runs="unused", endpoint=None, scratch=scratch)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Remote:
    return Remote(tmp_path_factory.mktemp("remote"))


@pytest.fixture
def ask(remote: Remote, tmp_path: Path) -> Any:
    """`scan` with a store and scratch of the test's own; the plan and the lines."""
    store = FolderStore(tmp_path / "store")

    def ask(slug: str, revision: str = "main", **changes: Any) -> tuple[RunPlan, list[str]]:
        lines: list[str] = []
        dotted = {key.replace("__", "."): value for key, value in changes.items()}
        settings = remote.settings(tmp_path / "scratch")
        plan = scan(slug, revision, dotted, "2026-01-02T03:04:05+00:00", store, settings, line=lines.append)
        assert not list((tmp_path / "scratch" / "work").glob("*/*"))
        return plan, lines

    return ask


def test_a_run_is_settled_once_and_a_rerun_does_not_look_at_the_source_again(ask: Any, remote: Remote) -> None:
    plan, lines = ask("night-1", train_classifier__seeds=3)
    head = remote.project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert (plan.slug, plan.commit, plan.created) == ("night-1", head, "2026-01-02T03:04:05+00:00")
    assert (plan.starting_lock, plan.started_from) == ("", "")
    assert yaml.safe_load(plan.params_yaml)["train_classifier"]["seeds"] == 3
    assert yaml.safe_load(plan.source_json)["ingest"]["batches"][0]["files"] == 17
    assert any("17 new files" in line for line in lines)

    image_folder(remote.source, {"dog": 1}, start=100)
    try:
        again, said = ask("night-1", revision="gone", train_classifier__seeds=4)
        assert again == plan
        assert said == ["scan: run night-1 was scanned before; its code, parameters and source.json are used again"]
        other, _ = ask("night-2")
        assert yaml.safe_load(other.source_json)["ingest"]["batches"][0]["files"] == 18
    finally:
        (remote.source / "dog" / "100.png").unlink()


def test_a_wrong_value_is_told_in_the_pipeline_s_own_line(ask: Any) -> None:
    with pytest.raises(CommandError) as caught:
        ask("night", train_generator__schedule__lr="fast")
    assert caught.value.status == 2
    told = [line for line in caught.value.tail if line.startswith("error: ")]
    assert len(told) == 1
    assert told[0].startswith("error: params.yaml: train_generator.schedule.lr ")
    assert told[0].endswith(", got 'fast'")


def test_a_source_that_is_not_there_is_told(ask: Any) -> None:
    with pytest.raises(CommandError) as caught:
        ask("night", ingest__source="/no/such/folder")
    assert [line for line in caught.value.tail if line.startswith("error: ") and "/no/such/folder" in line]


def test_an_unknown_revision_is_told(ask: Any) -> None:
    with pytest.raises(UnknownRevisionError, match=r"^revision 'no-such' is not in .*; push it, or name another$"):
        ask("night", revision="no-such")


def test_it_starts_from_the_newest_run_on_the_same_source_and_appends_new_files_as_a_batch(
    ask: Any, remote: Remote, tmp_path: Path
) -> None:
    first, _ = ask("night-1")
    clone = Project(tmp_path / "clone")
    subprocess.run([*GIT, "clone", "--quiet", remote.url, clone.root], check=True)
    nights = (("night-0", "2026-01-01"), ("night-1", "2026-01-02"), ("other", "2026-01-03"), ("theirs", "2026-01-04"))
    for slug, date in nights:
        dates = {f"GIT_{role}_DATE": f"{date}T00:00:00Z" for role in ("AUTHOR", "COMMITTER")}
        if slug != "theirs":  # an experiment that somebody pushed is no run
            dates |= {f"GIT_{role}_EMAIL": AUTHOR["EMAIL"] for role in ("AUTHOR", "COMMITTER")}
        (clone.root / "source.json").write_text(first.source_json, encoding="utf-8")
        (clone.root / "dvc.lock").write_text(f"# lock of {slug}\n", encoding="utf-8")
        if slug == "other":  # a run on another source, in between: it must not reset this one's batches
            clone.change({"ingest": {"source": "builtin:digits"}})
        clone.run(*GIT, "add", "source.json", "dvc.lock", "params.yaml")
        clone.run(*GIT, "commit", "--quiet", "--message", slug, **dates)
        ref = f"refs/exps/{first.commit[:2]}/{first.commit[2:]}/{slug}"
        clone.run("git", "push", "--quiet", "origin", f"HEAD:{ref}")
        clone.run("git", "reset", "--quiet", "--hard", first.commit)

    settings = remote.settings(tmp_path / "scratch")
    runs = published(update_mirror(settings.git, settings.mirrors))
    assert [run.slug for run in runs] == [slug for slug, _ in reversed(nights[:-1])]

    image_folder(remote.source, {"cat": 2}, start=200)
    try:
        plan, _ = ask("night-2")
    finally:
        for number in (200, 201):
            (remote.source / "cat" / f"{number}.png").unlink()
    assert (plan.started_from, plan.starting_lock) == ("night-1", "# lock of night-1\n")
    assert plan.commit == first.commit
    batches = yaml.safe_load(plan.source_json)["ingest"]["batches"]
    assert [batch["files"] for batch in batches] == [17, 2]
    assert batches[0] == yaml.safe_load(first.source_json)["ingest"]["batches"][0]
    assert replace(plan, source_json="", starting_lock="", started_from="", slug="") == replace(
        first, source_json="", slug=""
    )
