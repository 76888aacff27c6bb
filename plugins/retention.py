"""Removes old runs from the git remote, the DVC remote and the run store; what is kept stays whole whatever happens.

The order lets a run that is killed at any point lose nothing, and the next one finish: first the references go, so that
nothing leads to the runs any more, then the objects that nothing kept uses, last the runs' files in the run store.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from plugins.checkout import mirror_of, update_mirror
from plugins.kept import Choice, Policy, choose, run_keys
from plugins.lease import BusyError, Clock, lease, utc_now, workers
from plugins.process import Command, run
from plugins.references import Reference, references
from plugins.run_store import RunStore
from plugins.settings import Settings

Line = Callable[[str], None]
ROOT = Path(__file__).resolve().parents[1]
REFERENCES = 100  # in one push: a command line has its limit


@dataclass(frozen=True, kw_only=True)
class Retention:
    """One retention.

    Attributes:
        slug: of the task that does it, under which it holds the lease.
        active: how many runs Airflow has queued or running.
        line: told what happens.
        started: told of the running command, which whoever ends the task must end too.
    """

    slug: str
    policy: Policy
    store: RunStore
    settings: Settings
    active: Callable[[], int]
    line: Line
    env: Mapping[str, str] | None = None
    started: Callable[[Command], None] = lambda _: None
    clock: Clock = utc_now

    def look(self) -> dict[str, Any]:
        """Says what would be removed, and removes nothing.

        Raises:
            ValueError: no run has been published.
            CommandError: it is not certain what something kept uses, or git or the remote has failed.
        """
        choice = self._choose()
        found = self._find(choice)
        return self._report(choice, found, removed=False)

    def remove(self) -> dict[str, Any]:
        """Removes it.

        Raises:
            BusyError: a run is active, a task is at work, or another retention.
            ValueError, CommandError: as in `look`, and nothing has been removed.
        """
        with lease(self.store, self.slug, clock=self.clock) as deadline:
            self._check_idle()
            choice = self._choose()
            while (found := self._find(choice)) and (again := self._choose()) != choice:
                self.line("retention: the git remote or the run store has changed meanwhile; looks again")
                choice = again
            self._drop(choice.published)
            objects = [checksum for checksum, _ in found["unused"]]
            self._sweep("remove", choice, objects=objects, deadline=deadline.timestamp())
            for slug in choice.slugs:
                for key in run_keys(self.store, slug):
                    self.store.delete(key)
            return self._report(choice, found, removed=True)

    def _check_idle(self) -> None:
        if count := self.active():
            raise BusyError(f"retention: {count} run{'s are' if count > 1 else ' is'} active; ask again when none is")
        since = self.clock() - self.policy.min_age
        for worker in workers(self.store):
            if worker.slug != self.slug and worker.since > since:
                raise BusyError(
                    f"retention: task {worker.task} of run {worker.slug} has been at work since "
                    f"{worker.since:%Y-%m-%d %H:%M} UTC; ask again when it is done, or, if its worker has died, when "
                    f"that is longer ago than the minimum age"
                )

    def _choose(self) -> Choice:
        mirror = update_mirror(self.settings.git, self.settings.mirrors, self.env)
        return choose(references(mirror), self.store, self.policy, self.clock())

    def _find(self, choice: Choice) -> dict[str, Any]:
        before = (self.clock() - self.policy.min_age).timestamp()
        return self._sweep("look", choice, before=before)

    def _sweep(self, action: str, choice: Choice, **more: Any) -> dict[str, Any]:
        """Has DVC's part done by a process of its own."""
        place = {"url": self.settings.remote, "endpointurl": self.settings.endpoint}
        request = {
            "mirror": str(mirror_of(self.settings.git, self.settings.mirrors)),
            "config": {"remote": {"run": {key: value for key, value in place.items() if value}}},
            "kept": [asdict(kept) for kept in choice.kept],
        }
        folder = self.settings.scratch / "work" / self.slug
        folder.mkdir(parents=True, exist_ok=True)
        try:
            asked, answer = folder / "request.json", folder / "result.json"
            asked.write_text(json.dumps(request | more), encoding="utf-8")
            command = [sys.executable, "-m", "plugins.sweep", action, str(asked), str(answer)]
            env = {**os.environ, **(self.env or {}), "DVC_NO_ANALYTICS": "1"}
            process = Command(command, ROOT, env)
            self.started(process)
            process.wait(self.line)
            result: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return result

    def _drop(self, going: Sequence[Reference]) -> None:
        """Deletes references of the git remote, each only if it still is what it was."""
        mirror = mirror_of(self.settings.git, self.settings.mirrors)
        for start in range(0, len(going), REFERENCES):
            some = going[start : start + REFERENCES]
            leases = [f"--force-with-lease={ref.name}:{ref.commit}" for ref in some]
            command = ["git", "push", "--quiet", *leases, self.settings.git, *(f":{ref.name}" for ref in some)]
            run(command, mirror, self.line, {**os.environ, **(self.env or {})})

    def _report(self, choice: Choice, found: Mapping[str, Any], *, removed: bool) -> dict[str, Any]:
        """What is told, and what becomes the task's XCom."""
        published = [str(ref.slug) for ref in choice.published]
        size, said = sum(size for _, size in found["unused"]), "removed" if removed else "would remove"
        for name, count in found["lost"].items():
            self.line(f"retention: warning: of {name} {count} objects are not in the remote")
        for name in found["elsewhere"]:
            self.line(f"retention: nothing of {name} is in the remote; its data must be elsewhere")
        for slug in choice.slugs:
            self.line(f"retention: {said} run {slug}{'' if slug in published else ', which was never published'}")
        self.line(
            f"retention: {said} {len(found['unused'])} objects, {size / 1e6:.1f} MB; {found['used']} are in use, "
            f"{found['spared']} are not but are too young"
        )
        return {
            "removed": removed,
            "published": published,
            "unpublished": [slug for slug in choice.slugs if slug not in published],
            "objects": len(found["unused"]),
            "bytes": size,
            "used": found["used"],
            "spared": found["spared"],
            "lost": found["lost"],
        }
