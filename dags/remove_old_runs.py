"""Removes old runs from git, the DVC remote and the run store, and what no other run uses.

Every Sunday it only says what it would remove, and fails if the data of a kept run is damaged: a nightly run should
never find that a schedule has deleted something. To remove it, trigger this DAG with the dry run switched off.
"""

import os
from datetime import UTC, datetime

from airflow.sdk import DAG, Param
from airflow.timetables.trigger import CronTriggerTimetable

from plugins.airflow_settings import CONNECTIONS, TRY_AGAIN
from plugins.lease import LEASE
from plugins.retain_operator import RetainOperator

WEEKLY = CronTriggerTimetable("0 12 * * 0", timezone=os.environ.get("COUNTERWEIGHT_TIMEZONE", "UTC"))

with DAG(
    "remove_old_runs",
    schedule=WEEKLY,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["counterweight"],
    params={
        "dry_run": Param(True, type="boolean", title="Dry run", description="Only say what would be removed"),
        "keep": Param(
            14,
            type="integer",
            minimum=1,
            title="Runs to keep",
            description="The newest published runs; promoted runs, branches and tags are kept as well",
        ),
        "min_age_days": Param(
            2,
            type="integer",
            minimum=1,
            title="Minimum age in days",
            description="What is younger is spared: somebody may have pushed data and not yet the commit that names it",
        ),
    },
    render_template_as_native_obj=True,
    default_args=TRY_AGAIN,
    doc_md=__doc__,
):
    RetainOperator(
        task_id="retain",
        runs_of="complete_dataset",
        keep="{{ params.keep }}",
        min_age_days="{{ params.min_age_days }}",
        remove="{{ not params.dry_run }}",
        execution_timeout=LEASE,
        **CONNECTIONS,
    )
