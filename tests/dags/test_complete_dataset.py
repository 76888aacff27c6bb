import time
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from plugins.dvc_graph import Stage, read_graph

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dag_bag() -> DagBag:
    return DagBag(dag_folder=ROOT / "dags")


@pytest.fixture(scope="module")
def dag(dag_bag: DagBag) -> DAG:
    assert dag_bag.import_errors == {}
    assert dag_bag.captured_warnings == {}
    return dag_bag.dags["complete_dataset"]


@pytest.fixture(scope="module")
def graph() -> dict[str, Stage]:
    return read_graph(ROOT)


def test_one_task_a_stage_after_the_scan(dag: DAG, graph: dict[str, Stage]) -> None:
    assert set(dag.task_ids) == {"scan", *graph}
    for name, stage in graph.items():
        assert dag.get_task(name).upstream_task_ids == (set(stage.upstream) or {"scan"})


def test_each_task_runs_its_stage_in_the_project(dag: DAG, graph: dict[str, Stage]) -> None:
    assert dag.get_task("scan").bash_command.endswith("python -m pipeline scan")
    for name in graph:
        assert dag.get_task(name).bash_command.endswith(f"dvc --wait-for-lock repro {name}")
        assert dag.get_task(name).cwd == str(ROOT)


def test_runs_never_overlap_and_none_is_made_up_for(dag: DAG) -> None:
    assert (dag.max_active_runs, dag.catchup) == (1, False)


def test_the_file_parses_at_once(dag_bag: DagBag) -> None:
    assert dag_bag.import_errors == {}
    start = time.perf_counter()
    dag_bag.process_file(str(ROOT / "dags" / "complete_dataset.py"), only_if_updated=False)
    assert time.perf_counter() - start < 1
