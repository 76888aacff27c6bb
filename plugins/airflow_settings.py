"""What DAG files, operators and the UI share: connections and their keys, how often to try again, the assets."""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, BaseHook

COMPLETED_DATA_SET = Asset("counterweight://completed_data_set")
CLASSIFIER = Asset("counterweight://classifier")
CONNECTIONS = {
    "aws_conn_id": os.environ.get("COUNTERWEIGHT_AWS_CONN_ID"),
    "git_conn_id": os.environ.get("COUNTERWEIGHT_GIT_CONN_ID"),
}
PAGES = "/counterweight/pages"  # where the API server shows pages among a run's outs
TRY_AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
}


def aws_keys(conn_id: str | None) -> dict[str, str]:
    """The keys of the object store from an Airflow connection, under AWS's own names; none without a connection."""
    if conn_id is None:
        return {}
    connection = BaseHook.get_connection(conn_id)
    return {
        "AWS_ACCESS_KEY_ID": connection.login or "",
        "AWS_SECRET_ACCESS_KEY": connection.password or "",
        "AWS_DEFAULT_REGION": str(connection.extra_dejson.get("region_name", "us-east-1")),
    }
