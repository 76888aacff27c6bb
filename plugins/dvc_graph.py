"""The graph of dvc.yaml as plain dataclasses, read without DVC: a DAG file must parse at once."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

STAGE_KEYS = {"cmd", "deps", "desc", "frozen", "meta", "metrics", "outs", "params", "plots"}
QUEUES = ("cpu", "gpu")
COMMAND = re.compile(r"python -m pipeline (\w+)")
TEMPLATE = re.compile(r"\$\{\s*([\w.-]+)\s*\}")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of dvc.yaml, its templates resolved and its paths normalised, relative to the project's root."""

    name: str
    module: str
    cmd: str
    deps: tuple[str, ...]
    outs: tuple[str, ...]
    params: tuple[str, ...]
    meta: Mapping[str, Any]
    upstream: tuple[str, ...] = ()

    @property
    def queue(self) -> str:
        """Where the stage runs: cpu or gpu."""
        return str(self.meta["queue"])


def read_graph(root: Path = Path()) -> dict[str, Stage]:
    """Read `root`/dvc.yaml and the values of `root`/params.yaml it names, into stages in the file's order.

    Raises:
        ValueError: A file is missing or not YAML, a stage is not of the form used here, two stages write one out,
            or the stages form a circle.
    """
    values = _load(root / "params.yaml") if (root / "params.yaml").exists() else {}
    raw = _load(root / "dvc.yaml").get("stages")
    if not isinstance(raw, dict) or not raw:
        raise ValueError(f"{root / 'dvc.yaml'}: has no stages")
    stages = [_stage(name, body, values) for name, body in raw.items()]
    _check_outs(stages)
    graph = {stage.name: replace(stage, upstream=tuple(_upstream(stage, stages))) for stage in stages}
    _check_order(graph)
    return graph


def _load(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise ValueError(f"{path}: no such file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a mapping, got {type(content).__name__}")
    return content


def _stage(name: str, body: Any, values: Mapping[str, Any]) -> Stage:
    where = f"dvc.yaml: stages.{name}"
    if not isinstance(body, dict):
        raise ValueError(f"{where} must be a mapping, got {type(body).__name__}")
    if unknown := sorted(body.keys() - STAGE_KEYS):
        raise ValueError(f"{where} has {', '.join(unknown)}; known keys: {', '.join(sorted(STAGE_KEYS))}")
    cmd = _resolve(str(body.get("cmd", "")), values, where)
    module = COMMAND.match(cmd)
    if module is None:
        raise ValueError(f"{where}.cmd must begin with 'python -m pipeline MODULE', got {cmd!r}")
    meta = body.get("meta") or {}
    if meta.get("queue") not in QUEUES:
        raise ValueError(f"{where}.meta.queue must be {' or '.join(QUEUES)}, got {meta.get('queue')!r}")
    paths = {
        key: tuple(posixpath.normpath(_resolve(path, values, where)) for path in _names(body.get(key)))
        for key in ("deps", "outs", "metrics", "plots")
    }
    return Stage(
        name=name,
        module=module[1],
        cmd=cmd,
        deps=paths["deps"],
        outs=paths["outs"] + paths["metrics"] + paths["plots"],
        params=tuple(_resolve(key, values, where) for key in _params(body.get("params"))),
        meta=meta,
    )


def _names(entries: Any) -> Iterator[str]:
    """Names of a list whose entries are `name` or `name: {options}`."""
    for entry in entries or ():
        yield from entry if isinstance(entry, dict) else (str(entry),)


def _params(entries: Any) -> Iterator[str]:
    """Keys of params.yaml as they are; keys of another file as `file:key`, a whole file as `file:`."""
    for entry in entries or ():
        if isinstance(entry, dict):
            for file, keys in entry.items():
                yield from (f"{file}:{key}" for key in keys or ("",))
        else:
            yield str(entry)


def _resolve(text: str, values: Mapping[str, Any], where: str) -> str:
    """Replace each `${section.key}` by its value in params.yaml."""

    def value(match: re.Match[str]) -> str:
        found: Any = values
        for key in match[1].split("."):
            if not isinstance(found, dict) or key not in found:
                raise ValueError(f"{where} names ${{{match[1]}}}, which params.yaml does not hold")
            found = found[key]
        return str(found).lower() if isinstance(found, bool) else str(found)

    return TEMPLATE.sub(value, text)


def _overlap(one: str, other: str) -> bool:
    """Whether two paths are the same or one lies in the other."""
    shorter, longer = sorted((one.split("/"), other.split("/")), key=len)
    return longer[: len(shorter)] == shorter


def _upstream(stage: Stage, stages: list[Stage]) -> Iterator[str]:
    for other in stages:
        if any(_overlap(dep, out) for dep in stage.deps for out in other.outs):
            yield other.name


def _check_outs(stages: list[Stage]) -> None:
    seen: list[tuple[str, str]] = []
    for stage in stages:
        for out in stage.outs:
            for owner, known in seen:
                if _overlap(out, known):
                    raise ValueError(
                        f"dvc.yaml: {owner} writes {known} and {stage.name} writes {out}: one owner an out"
                    )
            seen.append((stage.name, out))


def _check_order(graph: Mapping[str, Stage]) -> None:
    try:
        TopologicalSorter({name: stage.upstream for name, stage in graph.items()}).prepare()
    except CycleError as error:
        raise ValueError(f"dvc.yaml: the stages form a circle: {' -> '.join(error.args[1])}") from error
