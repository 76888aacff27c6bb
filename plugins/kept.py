"""What retention keeps: the newest published runs and the promoted ones, every branch and tag, runs in the making."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from plugins import lock as locks
from plugins.references import Reference
from plugins.run_plan import RunPlan
from plugins.run_store import RunStore

PROMOTED = "refs/tags/promoted/"
KINDS = {"refs/heads/": "branch", "refs/tags/": "tag", "refs/": "reference"}


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How much is kept.

    Attributes:
        keep: how many published runs; promoted ones come on top.
        min_age: what is younger is spared, used or not.
    """

    keep: int = 14
    min_age: timedelta = timedelta(days=2)

    def __post_init__(self) -> None:
        if self.keep < 1 or self.min_age < timedelta(0):
            given = f"{self.keep} and {self.min_age.days}"
            raise ValueError(f"retention: keep must be at least 1 and min_age at least 0 days, got {given}")


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One thing that is kept.

    Attributes:
        name: what it is, to be told.
        commit: at which all that DVC would pull is kept; None for a run in the making.
        whole: whether its data must be in the remote; of a branch all of it may be elsewhere.
        needed: more checksums; a listing among them must be there.
        named: checksums that are kept where they are there.
    """

    name: str
    commit: str | None = None
    whole: bool = False
    needed: tuple[str, ...] = ()
    named: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """What is kept and what goes.

    Attributes:
        published: runs whose references go.
        slugs: runs whose files in the run store go: those, and runs that were never published and are not young.
    """

    kept: tuple[Kept, ...]
    published: tuple[Reference, ...]
    slugs: tuple[str, ...]


def choose(refs: Iterable[Reference], store: RunStore, policy: Policy, now: datetime) -> Choice:
    """Chooses what is kept.

    Raises:
        ValueError: no run has been published.
    """
    others = [ref for ref in refs if ref.slug is None]
    runs = sorted((ref for ref in refs if ref.slug is not None), key=lambda ref: (ref.created, ref.name), reverse=True)
    if not runs:
        raise ValueError("retention: the git remote has no published run to go by")
    before, held = now - policy.min_age, {ref.commit for ref in others}
    going = {ref for ref in runs[policy.keep :] if ref.created <= before and ref.commit not in held}
    staying = [ref for ref in runs if ref not in going]
    # A commit goes by the run that it publishes, whatever else leads to it; runs come before branches.
    kept = {ref.commit: _kept(ref) for ref in sorted([*others, *reversed(staying)], key=_is_whole)}
    making, stale = _unpublished(store, {str(ref.slug) for ref in runs}, before)
    return Choice(
        kept=(*reversed(kept.values()), *making),
        published=tuple(ref for ref in runs if ref in going),
        slugs=tuple(sorted({str(ref.slug) for ref in going} - {str(ref.slug) for ref in staying})) + tuple(stale),
    )


def run_keys(store: RunStore, slug: str) -> list[str]:
    """The keys of a run in the run store, its plan last: as long as it is there it says how old the run is."""
    return sorted(store.keys(f"runs/{slug}/"), key=lambda key: (key.endswith(("/plan.json", "/scan.json")), key))


def _is_whole(ref: Reference) -> bool:
    return ref.slug is not None or ref.name.startswith(PROMOTED)


def _kept(ref: Reference) -> Kept:
    prefix = next(prefix for prefix in KINDS if ref.name.startswith(prefix))
    name = f"run {ref.slug}" if ref.slug else f"{KINDS[prefix]} {ref.name.removeprefix(prefix)}"
    return Kept(name=name, commit=ref.commit, whole=_is_whole(ref))


def _unpublished(store: RunStore, published: set[str], before: datetime) -> tuple[list[Kept], list[str]]:
    """Runs in the making, and those that have failed long ago."""
    making, stale = [], []
    keys = store.keys("runs/")
    for slug in sorted({key.split("/")[1] for key in keys} - published):
        text = store.get(f"runs/{slug}/plan.json") or store.get(f"runs/{slug}/scan.json")
        if text is None:
            continue
        plan = RunPlan(**json.loads(text))
        if datetime.fromisoformat(plan.created) <= before:
            stale.append(slug)
        else:
            fragments = [
                json.loads(store.get(key) or b"{}") for key in keys if key.startswith(f"runs/{slug}/fragments/")
            ]
            starting = locks.parse(plan.starting_lock).values()
            name = f"run {slug}, which is not published yet"
            making.append(Kept(name=name, whole=True, needed=tuple(_outs(fragments)), named=tuple(_outs(starting))))
    return making, stale


def _outs(entries: Iterable[locks.Entry]) -> Iterator[str]:
    for entry in entries:
        yield from (locks.Hash.of(out).value for out in entry.get("outs", ()))
