"""Promotes a published run: at once if its verdict is ship and nobody asked to be asked, else if a person approves.

A DAG of its own, so that a run that waits for a person holds up no other run.
"""

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, task

from plugins.airflow_settings import CLASSIFIER, COMPLETED_DATA_SET, CONNECTIONS, TRY_AGAIN
from plugins.operators import PromoteOperator


@task.branch
def decide(params: dict[str, Any] | None = None) -> str:
    """Which way a run goes: promoted at once, or after a person's approval."""
    assert params is not None, "Airflow passes the run's parameters"
    return "promote" if params["verdict"] == "ship" and not params["approval"] else "approve"


with DAG(
    "promote_data_set",
    schedule=None,
    is_paused_upon_creation=False,
    tags=["counterweight"],
    params={
        "slug": Param("", type="string", description="The run, as it is called in the run store"),
        "commit": Param("", type="string", description="The published commit"),
        "verdict": Param("hold", type="string", enum=["ship", "hold"]),
        "reason": Param("", type="string"),
        "approval": Param(True, type="boolean", description="Ask a person although the verdict is ship"),
    },
    render_template_as_native_obj=True,
    default_args=TRY_AGAIN,
    doc_md=__doc__,
):
    approve = ApprovalOperator(
        task_id="approve",
        subject="Promote the completed data set of {{ params.slug }}?",
        body="Verdict: {{ params.verdict }}. {{ params.reason }}",
        defaults="Reject",
        response_timeout=timedelta(hours=24),
        retries=0,
    )
    promote = PromoteOperator(
        task_id="promote",
        slug="{{ params.slug }}",
        commit="{{ params.commit }}",
        outlets=[COMPLETED_DATA_SET, CLASSIFIER],
        trigger_rule="none_failed_min_one_success",
        **CONNECTIONS,
    )
    decide() >> [approve, promote]
    approve >> promote
