"""Fresh checkouts of one commit from a bare mirror that each worker keeps for itself."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from plugins.process import CommandError, run

WRITTEN_BY_RUNS = (":!dvc.lock", ":!looks.json")  # as git leaves them out
Line = Callable[[str], None]


class UnknownRevisionError(ValueError):
    """The git remote has no such revision."""


class UncommittedError(ValueError):
    """The folder that code comes from holds changes that no commit has."""


def check_committed(url: str, commit: str) -> None:
    """Where the git remote is a folder that somebody works in, and `commit` is checked out: nothing may be uncommitted.

    A run uses what is committed, so a change that was only saved would silently not be part of it. What runs themselves
    write there, dvc.lock and looks.json, is no such change.

    Raises:
        UncommittedError: a file is changed there.
    """
    folder = Path(url.removeprefix("file://"))
    if not (folder / ".git").exists():
        return
    try:
        if run(["git", "rev-parse", "HEAD"], folder)[-1].strip() != commit:
            return
        changed = run(["git", "status", "--porcelain", "--untracked-files=no", "--", *WRITTEN_BY_RUNS], folder)
    except CommandError:  # not to be read, or no commit yet: git will say so itself
        return
    if names := [line[3:] for line in changed if line.strip()]:
        told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise UncommittedError(f"{folder}: {told} changed but not committed, so no run would use it: commit or undo it")


def resolve(mirror: Path, url: str, revision: str) -> str:
    """The full commit id of a branch, tag, reference or (abbreviated) commit that the mirror of `url` holds.

    Raises:
        UnknownRevisionError: there is none.
    """
    try:
        lines = run(["git", "rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"], mirror)
    except CommandError:
        raise UnknownRevisionError(f"revision {revision!r} is not in {url}; push it, or name another") from None
    return lines[-1].strip()


def check_out(url: str, commit: str, folder: Path, mirrors: Path, env: Mapping[str, str] | None = None) -> None:
    """Makes `folder` a clone at `commit` that borrows its objects from the mirror.

    Raises:
        UnknownRevisionError: the remote has no such commit.
    """
    mirror = mirror_of(url, mirrors)
    if not _holds(mirror, commit):
        update_mirror(url, mirrors, env)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run(["git", "clone", "--quiet", "--no-checkout", "--shared", str(mirror), str(folder)], folder.parent)
    try:
        run(["git", "checkout", "--quiet", "--detach", commit], folder)
    except CommandError:
        raise UnknownRevisionError(f"commit {commit} is not in {url}; push it, or name another") from None


def mirror_of(url: str, mirrors: Path) -> Path:
    """Where the worker's bare mirror of `url` is, or will be."""
    return mirrors / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"


def _holds(mirror: Path, commit: str) -> bool:
    if not (mirror / "HEAD").exists():
        return False
    try:
        run(["git", "cat-file", "-e", f"{commit}^{{commit}}"], mirror)
    except CommandError:
        return False
    return True


def update_mirror(url: str, mirrors: Path, env: Mapping[str, str] | None = None) -> Path:
    """The worker's bare mirror of `url`, brought up to date, experiment references included."""
    mirror = mirror_of(url, mirrors)
    mirrors.mkdir(parents=True, exist_ok=True)
    with _locked(mirrors / f"{mirror.name}.lock"):
        if not (mirror / "HEAD").exists():
            shutil.rmtree(mirror, ignore_errors=True)
            run(["git", "init", "--quiet", "--bare", str(mirror)], mirrors)
        refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*", "+refs/exps/*:refs/exps/*"]
        for stale in mirror.rglob("*.lock"):  # left by a fetch that was killed, for none runs but under this lock
            stale.unlink()
        # Never tidied up: the clones borrow their objects from here.
        fetch = ["git", "-c", "maintenance.auto=false", "-c", "gc.auto=0", "fetch", "--quiet", "--prune", url, *refs]
        run(fetch, mirror, env={**os.environ, **(env or {})})
    return mirror


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        flock(file, LOCK_EX)
        yield
