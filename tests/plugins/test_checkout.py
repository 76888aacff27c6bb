import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from plugins.checkout import UncommittedError, UnknownRevisionError, check_committed, check_out, resolve, update_mirror
from tests.e2e.conftest import GIT


class Origin:
    """A bare git remote, and a clone to write to it from."""

    def __init__(self, root: Path) -> None:
        self.url, self.work, self.mirrors = str(root / "origin.git"), root / "work", root / "scratch" / "mirrors"
        subprocess.run([*GIT, "init", "--quiet", "--bare", "--initial-branch", "main", self.url], check=True)
        subprocess.run([*GIT, "clone", "--quiet", self.url, self.work], check=True, capture_output=True)
        self.git("checkout", "--quiet", "-B", "main")

    def git(self, *arguments: str) -> str:
        done = subprocess.run([*GIT, *arguments], cwd=self.work, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, content: str) -> str:
        """Pushes a commit whose only file holds `content`."""
        (self.work / "file").write_text(content)
        self.git("add", "file")
        self.git("commit", "--quiet", "--message", content)
        self.git("push", "--quiet", "--force", "origin", "HEAD")
        return self.git("rev-parse", "HEAD")

    def resolve(self, revision: str) -> str:
        return resolve(update_mirror(self.url, self.mirrors), self.url, revision)

    def check_out(self, commit: str, folder: Path) -> str:
        check_out(self.url, commit, folder, self.mirrors)
        return (folder / "file").read_text()


@pytest.fixture
def origin(tmp_path: Path) -> Origin:
    return Origin(tmp_path)


def test_a_branch_tag_reference_or_abbreviated_commit_is_a_commit(origin: Origin) -> None:
    first = origin.commit("first")
    origin.git("tag", "--annotate", "v1", "--message", "v1")
    origin.git("push", "--quiet", "origin", "v1", f"{first}:refs/exps/ab/cd/night")
    second = origin.commit("second")
    origin.git("push", "--quiet", "origin", f"{first}:refs/heads/feature/x")
    assert origin.resolve("main") == second
    for revision in ("v1", "feature/x", "refs/exps/ab/cd/night", first, first[:8], "main~1"):
        assert origin.resolve(revision) == first


@pytest.mark.parametrize(
    "revision", ["nightly", "", "-h", "--git-dir=/", "0" * 40, "deadbeef", "main:file", "main..main", "ma in", "main\n"]
)
def test_an_unknown_revision_is_one_line(origin: Origin, revision: str) -> None:
    origin.commit("first")
    with pytest.raises(UnknownRevisionError) as caught:
        origin.resolve(revision)
    assert str(caught.value) == f"revision {revision!r} is not in {origin.url}; push it, or name another"


def test_an_unknown_commit_is_one_line_too(origin: Origin, tmp_path: Path) -> None:
    origin.commit("first")
    with pytest.raises(UnknownRevisionError, match=f"^commit {'0' * 40} is not in .*; push it, or name another$"):
        origin.check_out("0" * 40, tmp_path / "folder")


def test_what_was_pushed_since_is_seen_and_a_rewritten_branch_followed(origin: Origin) -> None:
    first = origin.commit("first")
    assert origin.resolve("main") == first
    second = origin.commit("second")
    assert origin.resolve("main") == second
    origin.git("reset", "--quiet", "--hard", first)
    third = origin.commit("third")
    assert origin.resolve("main") == third
    assert origin.resolve(second) == second  # an old run's commit is still to be had


def test_a_checkout_is_fresh_whatever_lay_there_and_leaves_the_mirror_as_it_was(origin: Origin, tmp_path: Path) -> None:
    first, second = origin.commit("first"), origin.commit("second")
    folder = tmp_path / "task" / "checkout"
    assert origin.check_out(first, folder) == "first"
    (folder / "file").write_text("spoilt")
    (folder / "left over").touch()
    assert origin.check_out(second, folder) == "second"
    assert sorted(path.name for path in folder.iterdir()) == [".git", "file"]
    assert origin.resolve("main") == second


def test_what_a_killed_fetch_left_locked_is_in_nobody_s_way(origin: Origin) -> None:
    first = origin.commit("first")
    assert origin.resolve("main") == first
    (mirror,) = origin.mirrors.glob("*.git")
    for name in ("packed-refs.lock", "refs/heads/main.lock", "HEAD.lock"):
        (mirror / name).touch()
    second = origin.commit("second")
    assert origin.resolve("main") == second


def test_eight_checkouts_at_once_with_no_mirror_yet(origin: Origin, tmp_path: Path) -> None:
    commits = {text: origin.commit(text) for text in "abcdefgh"}

    def check(text: str) -> str:
        return origin.check_out(commits[text], tmp_path / "tasks" / text)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(check, commits)) == list(commits)


def test_what_was_changed_but_not_committed_in_the_folder_that_runs_take_their_code_from_is_told(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "work"
    git = ("git", "-C", str(folder), "-c", "user.name=test", "-c", "user.email=test@example.org")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    for name in ("params.yaml", "dvc.lock"):
        (folder / name).write_text("as committed")
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "--quiet", "--message", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    (folder / "untracked").touch()
    (folder / "dvc.lock").write_text("by dvc repro")
    check_committed(str(folder), head)
    (folder / "params.yaml").write_text("changed")
    check_committed(str(folder), "0" * 40)  # another revision than the one that is worked on
    with pytest.raises(
        UncommittedError, match=f"^{folder}: params.yaml changed but not committed, so no run would use it"
    ):
        check_committed(f"file://{folder}", head)


def test_a_git_server_or_a_bare_repository_holds_commits_only(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "bare.git")], check=True)
    for url in (str(tmp_path / "bare.git"), "https://example.org/x.git", "git@example.org:x.git"):
        check_committed(url, "0" * 40)
