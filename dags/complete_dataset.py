"""Completes the data set every night, or when triggered with the form: one task a stage of dvc.yaml.

DVC says what is stale; every task works in a checkout of its own and shares nothing with the others but git and the
object store. The run is always published as an experiment; it is promoted if its verdict is ship, or a person approves.
"""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Asset, task
from airflow.timetables.trigger import CronTriggerTimetable

from plugins import form
from plugins.dvc_graph import read_graph
from plugins.operators import DvcStageOperator, PromoteOperator, PublishOperator, ScanOperator

ROOT = Path(__file__).resolve().parents[1]
NIGHTLY = CronTriggerTimetable("0 2 * * *", timezone=os.environ.get("COUNTERWEIGHT_TIMEZONE", "UTC"))
CONNECTIONS = {
    "aws_conn_id": os.environ.get("COUNTERWEIGHT_AWS_CONN_ID"),
    "git_conn_id": os.environ.get("COUNTERWEIGHT_GIT_CONN_ID"),
}
COMPLETED_DATA_SET = Asset("counterweight://completed_data_set")
CLASSIFIER = Asset("counterweight://classifier")


VERDICT = "{{ ti.xcom_pull('evaluate')['metrics']['verdict'] }}"


@task.branch
def decide(verdict: str, params: dict[str, object] | None = None) -> str:
    """Promotes what ships; asks a person about the rest, and about everything where the form says so."""
    return "promote" if verdict == "ship" and not (params or {}).get("approval") else "approve"


with DAG(
    "complete_dataset",
    schedule=NIGHTLY,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["counterweight"],
    params=form.build(ROOT),
    render_template_as_native_obj=True,
    user_defined_macros={"changes": form.changes},
    default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
    doc_md=__doc__,
):
    graph = read_graph(ROOT)
    scan = ScanOperator(
        task_id="scan", revision="{{ params.revision }}", changes="{{ changes(params) }}", **CONNECTIONS
    )
    tasks = {
        name: DvcStageOperator(
            task_id=name,
            stage=name,
            queue=os.environ.get(f"COUNTERWEIGHT_QUEUE_{stage.queue.upper()}", "default"),
            **CONNECTIONS,
        )
        for name, stage in graph.items()
    }
    for stage in graph.values():
        tasks[stage.name].set_upstream([tasks[name] for name in stage.upstream] or [scan])
    ends = [tasks[name] for name in graph if not any(name in other.upstream for other in graph.values())]
    published = PublishOperator(task_id="publish", max_active_tis_per_dag=1, **CONNECTIONS)
    approve = ApprovalOperator(
        task_id="approve",
        subject="Promote this completed data set?",
        body=f"{VERDICT}: {{{{ ti.xcom_pull('evaluate')['metrics']['reason'] }}}}",
        defaults="Reject",
        response_timeout=timedelta(hours=24),
        retries=0,
    )
    promote = PromoteOperator(
        task_id="promote",
        published_task="publish",
        outlets=[COMPLETED_DATA_SET, CLASSIFIER],
        trigger_rule="none_failed_min_one_success",
        **CONNECTIONS,
    )
    decided = decide(VERDICT)
    ends >> published >> decided >> [approve, promote]
    approve >> promote
