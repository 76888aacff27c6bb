"""Completes the data set: one task a stage of dvc.yaml, each run by DVC, which skips what is up to date.

All tasks share the project's folder as their workspace, so they must run on one machine for now.
"""

import shlex
import sys
from pathlib import Path

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from plugins.dvc_graph import read_graph

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


def command(task_id: str, bash_command: str) -> BashOperator:
    """A task that runs one command in the project's folder, with this environment's own python and dvc."""
    return BashOperator(
        task_id=task_id, bash_command=f'PATH={shlex.quote(str(BIN))}:"$PATH" {bash_command}', cwd=str(ROOT)
    )


with DAG("complete_dataset", schedule=None, catchup=False, max_active_runs=1, tags=["counterweight"], doc_md=__doc__):
    graph = read_graph(ROOT)
    scan = command("scan", "python -m pipeline scan")
    tasks = {name: command(name, f"dvc --wait-for-lock repro {name}") for name in graph}
    for stage in graph.values():
        tasks[stage.name].set_upstream([tasks[name] for name in stage.upstream] or [scan])
