"""dvc.lock in pieces: every stage's task sends back its own entry, and entries are merged into a lock again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from plugins.dvc_graph import Stage

Entry = dict[str, Any]
Lock = dict[str, Entry]


class StaleError(RuntimeError):
    """A stage's result does not belong to what its upstream stages made in this run."""


@dataclass(frozen=True)
class Hash:
    """What DVC notes of one path: its checksum, under whichever algorithm, and its size."""

    value: str

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Hash":
        """The checksum in a dep or out of a lock entry."""
        kind = item.get("hash", "md5")
        return cls(str(item.get(kind, item.get("md5"))))


def parse(text: str) -> Lock:
    """Entries of a dvc.lock, by stage; none of an empty text."""
    content = yaml.safe_load(text) or {}
    return dict(content.get("stages", {}))


def dump(lock: Lock, order: Iterable[str]) -> str:
    """A dvc.lock whose entries stand in the order of the stages."""
    stages = {name: lock[name] for name in order if name in lock}
    return yaml.safe_dump({"schema": "2.0", "stages": stages}, sort_keys=False, allow_unicode=True, width=10_000)


def merge(starting: Lock, fragments: Mapping[str, Entry]) -> Lock:
    """The starting lock with the entries that this run has made."""
    return {**starting, **fragments}


def ancestors(graph: Mapping[str, Stage], name: str) -> list[str]:
    """All stages that `name` depends on, directly or not, in the graph's order."""
    seen: set[str] = set()
    todo = list(graph[name].upstream)
    while todo:
        stage = todo.pop()
        if stage not in seen:
            seen.add(stage)
            todo += graph[stage].upstream
    return [stage for stage in graph if stage in seen]


def check_fresh(graph: Mapping[str, Stage], name: str, lock: Lock, fragments: Mapping[str, Entry]) -> None:
    """Makes sure that what a stage's task ended with is this run's result and no older one.

    DVC can say "didn't change" of a stage whose upstream did, so its word is not taken for it.

    Raises:
        StaleError: an upstream stage was run again here, the stage has no entry, or one of its deps is not what the
            stage that makes it has sent back.
    """
    for stage, entry in fragments.items():
        if lock.get(stage) != entry:
            raise StaleError(f"{name}: its upstream stage {stage} was run again here; its own task must do that")
    if name not in lock:
        raise StaleError(f"{name}: dvc.lock has no entry of it after the run")
    made = {out["path"]: (stage, Hash.of(out)) for stage, entry in fragments.items() for out in entry.get("outs", ())}
    for dep in lock[name].get("deps", ()):
        if dep["path"] not in made:
            continue
        stage, wanted = made[dep["path"]]
        if Hash.of(dep) != wanted:
            raise StaleError(f"{name}: used an older {dep['path']} than {stage} made in this run")
    missing = [stage for stage in graph[name].upstream if stage not in fragments]
    if missing:
        raise StaleError(f"{name}: its upstream stage {missing[0]} has sent nothing back in this run")
