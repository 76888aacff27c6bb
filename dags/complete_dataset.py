"""Completes the data set every night, when images arrive, or from the form: one task a stage of dvc.yaml.

DVC says what is stale; every task works in a checkout of its own and shares nothing with the others but git and the
object store. The run is always published as an experiment, and then handed over to the DAG promote_data_set.
"""

import os
from datetime import UTC, datetime
from pathlib import Path

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG
from airflow.timetables.trigger import CronTriggerTimetable

from plugins import form, watch
from plugins.airflow_settings import CONNECTIONS, TRY_AGAIN
from plugins.dvc_graph import read_graph
from plugins.operators import DvcStageOperator, PublishOperator, ScanOperator
from plugins.placement import read_placements

ROOT = Path(__file__).resolve().parents[1]
NIGHTLY = CronTriggerTimetable("0 2 * * *", timezone=os.environ.get("COUNTERWEIGHT_TIMEZONE", "UTC"))

with DAG(
    "complete_dataset",
    schedule=watch.schedule(NIGHTLY),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["counterweight"],
    params=form.build(ROOT),
    render_template_as_native_obj=True,
    user_defined_macros={"changes": form.changes},
    default_args=TRY_AGAIN,
    doc_md=__doc__,
):
    graph = read_graph(ROOT)
    placements = read_placements(graph)
    scan = ScanOperator(
        task_id="scan", revision="{{ params.revision | tojson }}", changes="{{ changes(params) }}", **CONNECTIONS
    )
    tasks = {
        name: DvcStageOperator(
            task_id=name, stage=name, page=stage.meta.get("page"), **placements[name].arguments(), **CONNECTIONS
        )
        for name, stage in graph.items()
    }
    for stage in graph.values():
        tasks[stage.name].set_upstream([tasks[name] for name in stage.upstream] or [scan])
    ends = [tasks[name] for name in graph if not any(name in other.upstream for other in graph.values())]
    publish = PublishOperator(task_id="publish", max_active_tis_per_dag=1, **CONNECTIONS)
    hand_over = TriggerDagRunOperator(
        task_id="hand_over",
        trigger_dag_id="promote_data_set",
        conf={
            "slug": "{{ ti.xcom_pull('publish')['slug'] }}",
            "commit": "{{ ti.xcom_pull('publish')['commit'] }}",
            "verdict": "{{ ti.xcom_pull('evaluate')['metrics']['verdict'] }}",
            "reason": "{{ ti.xcom_pull('evaluate')['metrics']['reason'] }}",
            "approval": "{{ params.approval }}",
        },
    )
    ends >> publish >> hand_over
