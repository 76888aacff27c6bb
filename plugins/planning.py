"""Settles what a run is before anything runs: commit, parameters, what the sources hold, and the starting lock."""

import io
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from plugins.checkout import check_committed, resolve, update_mirror
from plugins.process import CommandError, run
from plugins.references import published
from plugins.run_plan import RunPlan
from plugins.run_store import RunStore
from plugins.settings import Settings
from plugins.stage_run import Line, workspace

RECENT = 100
NULL = "tag:yaml.org,2002:null"


def scan(
    slug: str,
    revision: str,
    changes: Mapping[str, Any],
    created: str,
    store: RunStore,
    settings: Settings,
    *,
    line: Line,
    env: Mapping[str, str] | None = None,
) -> RunPlan:
    """Checks the parameters and lists the sources, once a run: a rerun gets what the run's first scan found.

    Args:
        revision: branch, tag or commit of the code.
        changes: values for params.yaml, by dotted key, such as `{"train_generator.name": "vae"}`.
        created: when the run began, ISO 8601; it becomes the date of the published commit.

    Raises:
        CommandError: the parameters are wrong, or a source lacks files that are pinned.
        UnknownRevisionError: no such revision.
        UncommittedError: the git remote is a folder that one works in, and the revision lacks what was changed there.
    """
    held = store.get(f"runs/{slug}/scan.json")
    if held is not None:
        line(f"scan: run {slug} was scanned before; its code, parameters and source.json are used again")
        return RunPlan(**json.loads(held))
    mirror = update_mirror(settings.git, settings.mirrors, env)
    commit = resolve(mirror, settings.git, revision)
    check_committed(settings.git, commit)
    runs = published(mirror)
    params_yaml = changed(_show(mirror, commit, "params.yaml"), changes)
    # Batches go on from the newest run on the same sources: a run on others in between must not reset them.
    same = (run for run in runs[:RECENT] if _sources(_show(mirror, run.commit, "params.yaml")) == _sources(params_yaml))
    known = next(same, None)
    newest = known or next(iter(runs), None)
    plan = RunPlan(
        slug=slug,
        commit=commit,
        created=created,
        params_yaml=params_yaml,
        source_json=_show(mirror, known.commit if known else commit, "source.json"),
        starting_lock=_show(mirror, newest.commit, "dvc.lock") if newest else "",
        started_from=str(newest.slug) if newest else "",
    )
    with workspace(plan, "scan", settings, env or {}) as space:
        space.overlay(plan, {})
        space.pipeline("check", line=line)
        space.pipeline("scan", line=line)
        plan = replace(plan, source_json=(space.folder / "source.json").read_text(encoding="utf-8"))
    store.put(f"runs/{slug}/scan.json", json.dumps(asdict(plan), indent=1, ensure_ascii=False).encode())
    return plan


def changed(text: str, changes: Mapping[str, Any]) -> str:
    """params.yaml with other values, its comments kept.

    Raises:
        ValueError: a key is not in the file.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(type(None), lambda form, _: form.represent_scalar(NULL, "null"))
    content = yaml.load(text)
    for key, value in changes.items():
        *path, last = key.split(".")
        place = content
        for part in path:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or last not in place:
            raise ValueError(f"params.yaml has no {key!r} to change")
        place[last] = value
    out = io.StringIO()
    yaml.dump(content, out)
    return out.getvalue()


def _sources(params_yaml: str) -> tuple[Any, ...]:
    content = YAML(typ="safe", pure=True).load(params_yaml) or {}
    return tuple((content.get(stage) or {}).get("source") for stage in ("ingest", "ingest_source"))


def _show(mirror: Path, commit: str, path: str) -> str:
    """The text of a file at a commit of the worker's mirror, empty where there is none."""
    lines: list[str] = []
    try:
        run(["git", "show", f"{commit}:{path}"], mirror, lines.append)
    except CommandError:
        return ""
    return "\n".join(lines) + "\n"
