"""Runs independent jobs side by side; where and how many is the environment's business, never params.yaml's.

`COUNTERWEIGHT_WORKERS` sets the number of processes (default: all processors). Each job computes on one thread, so that
its result does not depend on how many others run beside it.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import joblib

from pipeline.errors import UserError
from pipeline.progress import bar

T = TypeVar("T")


def num_workers() -> int:
    """Processes to use.

    Raises:
        UserError: `COUNTERWEIGHT_WORKERS` is no whole number of at least 1.
    """
    given = os.environ.get("COUNTERWEIGHT_WORKERS", "")
    if not given:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not given.isdigit() or int(given) < 1:
        raise UserError(f"COUNTERWEIGHT_WORKERS must be a whole number of at least 1, got {given!r}")
    return int(given)


def run_jobs(function: Callable[..., T], jobs: Sequence[dict[str, Any]], label: str) -> list[T]:
    """Calls `function(**job)` for every job in worker processes and returns the results in the jobs' order."""
    workers = min(num_workers(), len(jobs))
    if workers <= 1:
        with bar(label, len(jobs), "job") as shown:
            return [_counted(_on_one_thread(function, job), shown) for job in jobs]
    parallel = joblib.Parallel(n_jobs=workers, backend="loky", return_as="generator")
    with bar(label, len(jobs), "job") as shown:
        return [_counted(r, shown) for r in parallel(joblib.delayed(_on_one_thread)(function, j) for j in jobs)]


def _counted(result: T, shown: Any) -> T:
    shown.update()
    return result


def _on_one_thread(function: Callable[..., T], job: dict[str, Any]) -> T:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return function(**job)
    finally:
        torch.set_num_threads(threads)
