"""Fresh checkouts of one commit from a bare mirror that each worker keeps for itself."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from plugins.process import CommandError, run

Line = Callable[[str], None]


class UnknownRevisionError(ValueError):
    """The git remote has no such revision."""


def resolve(url: str, revision: str, mirrors: Path, env: Mapping[str, str] | None = None) -> str:
    """The full commit id of a branch, tag, reference or (abbreviated) commit of the remote at `url`.

    Raises:
        UnknownRevisionError: there is none.
    """
    mirror = update_mirror(url, mirrors, env)
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
    mirror = update_mirror(url, mirrors, env)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    run(["git", "clone", "--quiet", "--no-checkout", "--shared", str(mirror), str(folder)], folder.parent)
    try:
        run(["git", "checkout", "--quiet", "--detach", commit], folder)
    except CommandError:
        raise UnknownRevisionError(f"commit {commit} is not in {url}; push it, or name another") from None


def update_mirror(url: str, mirrors: Path, env: Mapping[str, str] | None = None) -> Path:
    """The worker's bare mirror of `url`, brought up to date, experiment references included."""
    mirror = mirrors / f"{hashlib.sha256(url.encode()).hexdigest()[:16]}.git"
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
