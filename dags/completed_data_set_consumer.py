"""An example of a DAG of yours: runs whenever a completed data set and its classifier have been promoted."""

from typing import Any

from airflow.sdk import DAG, task

from plugins.airflow_settings import CLASSIFIER, COMPLETED_DATA_SET


@task
def announce(triggering_asset_events: Any = None) -> list[dict[str, Any]]:
    """Returns what was promoted; fetch it with `dvc get --rev COMMIT URL data/synthetic`."""
    events = [event for found in (triggering_asset_events or {}).values() for event in found]
    return [dict(event.extra) for event in events]


with DAG(
    "completed_data_set_consumer",
    schedule=[COMPLETED_DATA_SET, CLASSIFIER],
    tags=["counterweight", "example"],
    doc_md=__doc__,
):
    announce()
