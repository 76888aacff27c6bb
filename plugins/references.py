"""The references of the git remote, and which of them publish a run.

A run is published as an experiment of DVC's, `refs/exps/AB/CDEF…/SLUG`, by an author of our own: people may push
experiments of theirs to the same place.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from plugins.process import CommandError, run

EXPERIMENTS = "refs/exps"
AUTHOR = {"NAME": "counterweight", "EMAIL": "counterweight@localhost"}
FIELDS = "%(refname)%09%(objecttype)%09%(objectname)%09%(authoremail)%09%(committerdate:unix)"


@dataclass(frozen=True)
class Reference:
    """A reference of the git remote.

    Attributes:
        slug: the run that it publishes; None for a branch, a tag, or an experiment that is somebody's own.
        created: when that run began.
    """

    name: str
    commit: str
    slug: str | None
    created: datetime


def references(mirror: Path) -> list[Reference]:
    """All branches, tags and experiments of a mirror that lead to a commit."""
    lines: list[str] = []
    run(["git", "for-each-ref", f"--format={FIELDS}"], mirror, lines.append)
    return [found for line in lines if (found := _reference(mirror, *line.split("\t")))]


def published(mirror: Path) -> list[Reference]:
    """The published runs, newest first."""
    runs = (ref for ref in references(mirror) if ref.slug is not None)
    return sorted(runs, key=lambda ref: (ref.created, ref.name), reverse=True)


def _reference(mirror: Path, name: str, kind: str, commit: str, author: str, created: str) -> Reference | None:
    if kind == "tag":
        try:
            commit = run(["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"], mirror)[-1]
        except CommandError:
            return None
    elif kind != "commit":
        return None
    parts = name.split("/")
    is_run = name.startswith(f"{EXPERIMENTS}/") and len(parts) == 5 and len(parts[2] + parts[3]) == 40
    slug = parts[-1] if is_run and author == f"<{AUTHOR['EMAIL']}>" else None
    return Reference(name, commit, slug, datetime.fromtimestamp(int(created or 0), UTC))
