"""Images that arrive under a watched prefix start a run: in a real Airflow, with a DAG of one task on the schedule."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.airflow.running import Airflow, running
from tests.e2e.conftest import Project
from tests.s3 import REGION, Server, server
from tests.tiny import ROOT

__all__ = ["server"]  # a fixture
pytestmark = [pytest.mark.airflow, pytest.mark.slow]
ARRIVALS = """
from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param, task

from plugins import watch


@task(retries=5, retry_delay=timedelta(seconds=1))
def told(params=None, triggering_asset_events=None):
    events = [event for found in (triggering_asset_events or {}).values() for event in found]
    return {"revision": params["revision"], "objects": [event.extra["payload"]["objects"] for event in events]}


with DAG(
    "arrivals",
    schedule=watch.schedule(CronTriggerTimetable("0 2 * * *", timezone="UTC")),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    params={"revision": Param("main", type="string", minLength=1)},
):
    told()
"""
TIMEOUT_S = 120.0


def results(airflow: Airflow, kind: str) -> list[Any]:
    """What the task told in each run of a kind, oldest first; None in one that is not done."""
    runs = [run for run in airflow.runs("arrivals") if run["run_type"] == kind]
    path = "/dags/arrivals/dagRuns/{}/taskInstances/told/xcomEntries/return_value"
    found: list[Any] = []
    for run in runs:
        done = run["state"] == "success"
        found.append(airflow.ask("GET", path.format(quote(run["dag_run_id"])))["value"] if done else None)
    return found


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.5)


def test_what_arrives_starts_one_run_and_neither_time_nor_a_restart_does(server: Server, tmp_path: Path) -> None:
    project, bucket, client = Project(tmp_path / "project"), server.new_bucket(), server.client()
    (project.root / "dags").mkdir(parents=True)
    (project.root / "dags" / "arrivals.py").write_text(ARRIVALS)
    env = {
        "PYTHONPATH": str(ROOT),
        "COUNTERWEIGHT_WATCH": f"s3://{bucket}/in",
        "COUNTERWEIGHT_WATCH_INTERVAL": "1",
        "COUNTERWEIGHT_S3_ENDPOINT": server.endpoint,
        "COUNTERWEIGHT_AWS_CONN_ID": "objects",
        "COUNTERWEIGHT_RUNS": f"s3://{bucket}/runs",
    }
    log = project.root / ".airflow" / "triggerer.log"

    def arrive(*names: str) -> None:
        for name in names:
            client.put_object(Bucket=bucket, Key=f"in/{name}", Body=b"1")

    with running(project, **env) as airflow:
        until(lambda: log.read_text().count("AirflowNotFoundException") >= 2)  # there is no connection yet
        connection = {"connection_id": "objects", "conn_type": "aws", "extra": json.dumps({"region_name": REGION})}
        airflow.ask("POST", "/connections", connection | {"login": server.key, "password": server.secret})
        arrive("cat/1.png", "dog/1.png")
        until(lambda: len(results(airflow, "asset_triggered")) >= 1)
        until(lambda: len(server.keys(bucket, "runs/watch/")) >= 1)
        arrive("cat/2.png")
        until(lambda: len(results(airflow, "asset_triggered")) >= 2)
        until(lambda: len(server.keys(bucket, "runs/watch/")) >= 2)
        airflow.ask("POST", "/dags/arrivals/dagRuns", {"logical_date": None, "conf": {"revision": "v2"}})
        until(lambda: results(airflow, "manual") == [{"revision": "v2", "objects": []}])
        until(lambda: results(airflow, "scheduled") == [{"revision": "main", "objects": []}])  # last night's
        until(lambda: None not in results(airflow, "asset_triggered"))
        assert airflow.ask("GET", "/pools/default_pool")["occupied_slots"] == 0  # while the prefix is watched
    told = log.read_text()
    with running(project, **env) as airflow:
        arrive("cat/3.png")
        until(lambda: len(results(airflow, "asset_triggered")) >= 3 and None not in results(airflow, "asset_triggered"))
        expected = [{"revision": "main", "objects": [objects]} for objects in (2, 3, 4)]
        assert results(airflow, "asset_triggered") == expected
    assert server.secret not in told + log.read_text()
