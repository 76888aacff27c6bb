"""What one run is: a code commit, the parameters, what the sources held, and the lock that it starts from."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from plugins.lock import Entry
from plugins.run_store import RunStore


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run as it stands in the run store, `runs/SLUG/plan.json`; all that a task needs beside the store is `slug`.

    Attributes:
        commit: the code.
        created: when the run began, ISO 8601.
        params_yaml, source_json: the files' texts, laid over the checkout.
        starting_lock: the dvc.lock of the newest published run; it only decides what can be skipped.
        started_from: slug of that run, or an empty text.
    """

    slug: str
    commit: str
    created: str
    params_yaml: str
    source_json: str
    starting_lock: str
    started_from: str

    def save(self, store: RunStore) -> None:
        """Writes the plan once; the same again is fine."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        store.put(f"runs/{self.slug}/plan.json", text.encode())

    @classmethod
    def load(cls, store: RunStore, slug: str) -> "RunPlan":
        """Reads a plan.

        Raises:
            ValueError: there is none.
        """
        data = store.get(f"runs/{slug}/plan.json")
        if data is None:
            raise ValueError(f"run {slug!r} has no plan in the run store")
        return cls(**json.loads(data))


def make_slug(run_id: str) -> str:
    """A name for Airflow's run_id that git takes: letters, digits and dashes, with a hash to keep it unique."""
    plain = re.sub(r"[^a-z0-9]+", "-", run_id.lower()).strip("-")[:48]
    return f"{plain}-{hashlib.sha256(run_id.encode()).hexdigest()[:8]}".lstrip("-")


def save_fragment(store: RunStore, slug: str, stage: str, entry: Entry) -> None:
    """Sends a stage's lock entry back: the last thing its task does, so that a retry before it is safe."""
    store.put(f"runs/{slug}/fragments/{stage}.json", json.dumps(entry, sort_keys=True, ensure_ascii=False).encode())


def load_fragments(store: RunStore, slug: str, stages: Mapping[str, Any] | list[str]) -> dict[str, Entry]:
    """The lock entries that the named stages have sent back so far."""
    found = {stage: store.get(f"runs/{slug}/fragments/{stage}.json") for stage in stages}
    return {stage: json.loads(data) for stage, data in found.items() if data is not None}
