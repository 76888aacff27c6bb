"""complete_dataset as it runs at a site: PostgreSQL, two schedulers, and Celery workers for the queues cpu and gpu."""

import subprocess
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
import pytest

from plugins import lock as locks
from plugins.dvc_graph import Stage, read_graph
from plugins.publish import reference
from plugins.run_plan import RunPlan, make_slug
from plugins.run_store import open_store
from tests.cluster.cluster import SCHEDULERS, Cluster
from tests.cluster.parts import until
from tests.e2e.conftest import Project
from tests.s3 import BUCKET

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
RUN = "by-hand"
DAG = "dags/complete_dataset"
PROMOTION = "dags/promote_data_set/dagRuns"


@dataclass(frozen=True)
class Night:
    """A run in which a scheduler was killed, and the GPU worker came late.

    Attributes:
        tasks: what Airflow's API says of each task at the end.
        before: states of the tasks just before the GPU worker was started.
        killed: the scheduler that was killed.
        queued_before: the tasks that had been queued by then.
    """

    cluster: Cluster
    run: dict[str, Any]
    tasks: dict[str, dict[str, Any]]
    before: dict[str, str | None]
    killed: str
    queued_before: set[str]


@pytest.fixture(scope="module")
def graph(finished: Project) -> dict[str, Stage]:
    return read_graph(finished.root)


@pytest.fixture(scope="module")
def night(cluster: Cluster, graph: dict[str, Stage]) -> Night:
    cluster.start_worker("worker-cpu", "cpu")
    # In the place of last night's run, which would else begin as soon as the DAG is unpaused.
    last_night = cluster.api.get(DAG)["next_dagrun_logical_date"]
    cluster.api.post(f"{DAG}/dagRuns", {"dag_run_id": RUN, "logical_date": last_night, "conf": {"approval": True}})
    cluster.api.patch(DAG, {"is_paused": False})

    until(lambda: states(cluster).get("ingest") == "running", alive(cluster))
    queued_before = queued_by(cluster)
    killed = queued_before["ingest"]
    cluster.parts.pop(killed).kill()

    def waits_for_gpu() -> dict[str, str | None]:
        found = states(cluster)
        done = {name for name, state in found.items() if state == "success"}
        without = {name for name in graph if needs_no_gpu(name, graph)}
        ready = {name for name in set(graph) - without if set(graph[name].upstream) <= without}
        return found if without <= done and all(found[name] == "queued" for name in ready) else {}

    before = until(waits_for_gpu, alive(cluster))
    cluster.start_worker("worker-gpu", "gpu")
    run = until(lambda: ended(cluster), alive(cluster), timeout_s=1200)
    tasks = {task["task_id"]: task for task in instances(cluster)}
    return Night(cluster, run, tasks, before, killed, set(queued_before))


def alive(cluster: Cluster) -> list[Any]:
    return list(cluster.parts.values())


def instances(cluster: Cluster) -> list[dict[str, Any]]:
    return list(cluster.api.get(f"{DAG}/dagRuns/{RUN}/taskInstances")["task_instances"])


def states(cluster: Cluster) -> dict[str, str | None]:
    return {task["task_id"]: task["state"] for task in instances(cluster)}


def ended(cluster: Cluster) -> dict[str, Any]:
    run = cluster.api.get(f"{DAG}/dagRuns/{RUN}")
    return run if run["state"] in {"success", "failed"} else {}


def queued_by(cluster: Cluster) -> dict[str, str]:
    """The scheduler that queued each task."""
    jobs = "SELECT task_id, job.hostname FROM task_instance JOIN job ON job.id = queued_by_job_id WHERE run_id = %s"
    return dict(cluster.postgres.run("airflow", jobs, RUN))


def needs_no_gpu(name: str, graph: dict[str, Stage]) -> bool:
    return all(graph[stage].queue == "cpu" for stage in [name, *locks.ancestors(graph, name)])


def plan_of(night: Night) -> RunPlan:
    return RunPlan.load(open_store(f"s3://{BUCKET}", night.cluster.server.credentials), make_slug(RUN))


def git(night: Night, *command: str) -> str:
    """What git says on the git remote."""
    return subprocess.run(
        ["git", *command], cwd=night.cluster.origin, check=True, capture_output=True, text=True
    ).stdout


def test_every_task_succeeds_at_once(night: Night, graph: dict[str, Stage]) -> None:
    assert night.run["state"] == "success"
    assert set(night.tasks) == {"scan", *graph, "publish", "hand_over"}
    assert {(task["state"], task["try_number"]) for task in night.tasks.values()} == {("success", 1)}


def test_each_task_runs_on_the_worker_of_its_queue(night: Night, graph: dict[str, Stage]) -> None:
    kinds = {name: graph[name].queue if name in graph else "cpu" for name in night.tasks}
    assert set(kinds.values()) == {"cpu", "gpu"}
    assert {name: task["queue"] for name, task in night.tasks.items()} == kinds
    workers = {name: f"worker-{kind}" for name, kind in kinds.items()}
    assert {name: task["hostname"] for name, task in night.tasks.items()} == workers
    database = night.cluster.postgres
    ids = "SELECT external_executor_id, task_id FROM task_instance WHERE run_id = %s"
    names = dict(database.run("airflow", ids, RUN))
    told = dict(database.run("celery", "SELECT task_id, worker FROM celery_taskmeta"))
    by_celery = {name: told[task] for task, name in names.items()}
    assert by_celery == {name: f"celery@{worker}" for name, worker in workers.items()}


def test_stages_that_need_no_gpu_wait_for_none(night: Night) -> None:
    done = {name for name, state in night.before.items() if state == "success"}
    assert done == {"scan", "ingest", "ingest_source", "analyze_bias", "augment"}
    assert {name for name, state in night.before.items() if state == "queued"} == {"train_source", "train_generator"}


def test_when_a_scheduler_is_killed_the_other_one_goes_on(night: Night) -> None:
    (other,) = set(SCHEDULERS) - {night.killed}
    schedulers = queued_by(night.cluster)
    later = set(night.tasks) - night.queued_before
    assert {"augment", "train_source", "evaluate", "publish"} <= later
    assert {schedulers[name] for name in later} == {other}


def test_two_doors_one_result(night: Night, finished: Project) -> None:
    lock = locks.parse((finished.root / "dvc.lock").read_text(encoding="utf-8"))
    assert set(lock) <= set(night.tasks)
    assert locks.parse(git(night, "show", f"{reference(plan_of(night))}:dvc.lock")) == lock


def test_a_person_approves_and_the_run_is_promoted(night: Night) -> None:
    api = night.cluster.api
    (asked,) = until(lambda: api.get(f"{PROMOTION}/~/hitlDetails")["hitl_details"], alive(night.cluster))
    run = f"{PROMOTION}/{asked['task_instance']['dag_run_id']}"
    api.patch(f"{run}/taskInstances/approve/-1/hitlDetails", {"chosen_options": ["Approve"]})
    until(lambda: api.get(run)["state"] == "success", alive(night.cluster))
    plan = plan_of(night)
    tag = git(night, "rev-parse", "--verify", f"refs/tags/promoted/{plan.slug}")
    assert tag == git(night, "rev-parse", "--verify", reference(plan))


def test_a_worker_knows_neither_the_metadata_database_nor_the_secrets(night: Night) -> None:
    cluster = night.cluster
    hidden = {cluster.postgres.passwords["airflow"], cluster.server.secret, *cluster.secrets.values()}
    for name in ("worker-cpu", "worker-gpu"):
        text = " ".join(cluster.parts[name].env.values())
        assert cluster.postgres.passwords["celery"] in text
        assert not [secret for secret in hidden if secret in text]
    theirs = cluster.postgres.url("celery", "postgresql").removesuffix("/celery")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(f"{theirs}/airflow")


def test_logs_are_read_from_the_object_store(night: Night) -> None:
    log = night.cluster.api.get(f"{DAG}/dagRuns/{RUN}/taskInstances/train_source/logs/1")
    text = " ".join(line["event"] for line in log["content"])
    assert f"s3://{BUCKET}/logs/" in text
    assert "Running stage 'train_source'" in text


def test_nothing_listens_beyond_loopback(night: Night) -> None:
    cluster = night.cluster
    leaders = [*cluster.parts.values(), cluster.postgres.part, cluster.redis.part]
    processes = [psutil.Process(part.process.pid) for part in leaders]
    everything = [child for process in processes for child in (process, *process.children(recursive=True))]
    listening = [
        connection.laddr
        for process in everything
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {cluster.port, cluster.postgres.port} <= {address.port for address in listening}
    assert {address.ip for address in listening} == {"127.0.0.1"}
