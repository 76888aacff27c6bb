"""What all DAG files share: where Airflow's connections are named, how often to try again, and the assets."""

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset

COMPLETED_DATA_SET = Asset("counterweight://completed_data_set")
CLASSIFIER = Asset("counterweight://classifier")
CONNECTIONS = {
    "aws_conn_id": os.environ.get("COUNTERWEIGHT_AWS_CONN_ID"),
    "git_conn_id": os.environ.get("COUNTERWEIGHT_GIT_CONN_ID"),
}
TRY_AGAIN: dict[str, Any] = {
    "retries": 2,
    "retry_delay": timedelta(seconds=30),
    "retry_exponential_backoff": True,
}


def queue(kind: str) -> str:
    """The queue that serves stages of a kind of worker, cpu or gpu."""
    return os.environ.get(f"COUNTERWEIGHT_QUEUE_{kind.upper()}", "default")
