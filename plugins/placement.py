"""Where the tasks of stages run: queue, pool, executor and Kubernetes pod, from one YAML file.

dvc.yaml says of a stage what kind of worker it needs (`meta: {queue: cpu}` or gpu). What that means at a site is the
site's own affair: `COUNTERWEIGHT_PLACEMENT` names a file whose keys are kinds or, for an exception, single stages.
Without it all tasks go to Airflow's default queue and pool, so that the same DAG runs with LocalExecutor alone.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from plugins.dvc_graph import QUEUES, Stage


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the tasks of a kind of worker or of one stage run; what is None is Airflow's default.

    Attributes:
        queue: a queue of Celery workers.
        pool: a pool of Airflow; it must exist, or its tasks never start.
        executor: one of the executors that Airflow is configured with.
        pod: what a Kubernetes worker pod has beside the template, as in the Kubernetes API.
    """

    queue: str | None = None
    pool: str | None = None
    executor: str | None = None
    pod: Mapping[str, Any] | None = None

    def arguments(self) -> dict[str, Any]:
        """An operator's keyword arguments."""
        plain = {"queue": self.queue, "pool": self.pool, "executor": self.executor}
        arguments: dict[str, Any] = {key: value for key, value in plain.items() if value is not None}
        if self.pod is not None:
            from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

            pod = PodGenerator.deserialize_model_dict(dict(self.pod))
            arguments["executor_config"] = {"pod_override": pod}
        return arguments


TYPES = {"queue": str, "pool": str, "executor": str, "pod": dict}


def read_placements(graph: Mapping[str, Stage]) -> dict[str, Placement]:
    """Where each stage of the graph runs.

    Raises:
        ValueError: the file is missing, is not YAML, or holds something else than placements; names all that is wrong.
    """
    named = os.environ.get("COUNTERWEIGHT_PLACEMENT")
    given = _load(Path(named), graph) if named else {}
    merged = {name: {**given.get(stage.queue, {}), **given.get(name, {})} for name, stage in graph.items()}
    return {name: Placement(**values) for name, values in merged.items()}


def _load(path: Path, graph: Iterable[str]) -> dict[str, dict[str, Any]]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ValueError(f"COUNTERWEIGHT_PLACEMENT: {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: is not YAML: {' '.join(str(error).split())}") from error
    if problems := list(_problems(content, {*QUEUES, *graph})):
        raise ValueError(f"{path}: {'; '.join(problems)}")
    return {name: values or {} for name, values in content.items()}


def _problems(content: Any, known: set[str]) -> Iterable[str]:
    if not isinstance(content, dict):
        yield f"must map kinds of worker ({', '.join(QUEUES)}) or stages to placements, got {type(content).__name__}"
        return
    accepted = [field.name for field in fields(Placement)]
    for name, values in content.items():
        if name not in known:
            yield f"unknown kind or stage {name!r}; known: {', '.join(sorted(known))}"
        elif not isinstance(values or {}, dict):
            yield f"{name} must map some of {', '.join(accepted)} to values, got {values!r}"
        else:
            for key, value in (values or {}).items():
                if key not in TYPES:
                    yield f"{name} has {key!r}; accepted: {', '.join(accepted)}"
                elif not isinstance(value, TYPES[key]):
                    yield f"{name}.{key} must be a {TYPES[key].__name__}, got {value!r}"
