import copy
import json
import subprocess
import sys
import time

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from plugins import form
from plugins.dvc_graph import Stage, read_graph
from plugins.operators import DvcStageOperator
from tests.tiny import ROOT

AROUND = {"scan", "publish", "hand_over"}
FILE = ROOT / "dags" / "complete_dataset.py"
# What the file itself imports, and how long that takes, once Airflow is there.
PARSE = f"""
import json, runpy, sys, time
import airflow.dag_processing.dagbag, airflow.providers.standard.operators.hitl, airflow.sdk.exceptions
import airflow.providers.standard.operators.trigger_dagrun
before, start = set(sys.modules), time.perf_counter()
runpy.run_path({str(FILE)!r})
print(json.dumps([time.perf_counter() - start, sorted(set(sys.modules) - before)]))
"""


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


def test_one_task_a_stage_between_the_scan_and_the_publication(dag: DAG, graph: dict[str, Stage]) -> None:
    assert set(dag.task_ids) == AROUND | set(graph)
    assert not AROUND & set(graph)


def test_the_edges_are_those_of_the_graph(dag: DAG, graph: dict[str, Stage]) -> None:
    used = {name for stage in graph.values() for name in stage.upstream}
    upstream = {name: set(stage.upstream) or {"scan"} for name, stage in graph.items()}
    upstream |= {"scan": set(), "publish": set(graph) - used, "hand_over": {"publish"}}
    assert {name: dag.get_task(name).upstream_task_ids for name in dag.task_ids} == upstream


def test_what_is_handed_over_is_what_the_promotion_asks_for(dag: DAG, dag_bag: DagBag) -> None:
    task = dag.get_task("hand_over")
    assert task.trigger_dag_id == "promote_data_set"
    assert set(task.conf) == set(dag_bag.dags["promote_data_set"].params)
    for name in ("evaluate", "publish"):  # whose results it hands over
        assert name in task.get_flat_relative_ids(upstream=True)


def test_each_task_runs_its_stage(dag: DAG, graph: dict[str, Stage]) -> None:
    for name in graph:
        task = dag.get_task(name)
        assert isinstance(task, DvcStageOperator)
        assert task.stage == name
        assert task.retries == 2


def test_runs_never_overlap_and_none_is_made_up_for(dag: DAG) -> None:
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    assert dag.get_task("publish").max_active_tis_per_dag == 1


def test_it_comes_every_night_at_two_where_the_user_lives(dag: DAG) -> None:
    assert dag.timetable.summary == "0 2 * * *"


def rendered_scan(dag: DAG, **chosen: object) -> tuple[str, dict[str, object]]:
    """What the scan is given when the form was filled in so."""
    params = {name: param.resolve() for name, param in form.build(ROOT).items()} | chosen
    template = dag.get_template_env()
    template.globals |= dag.user_defined_macros
    scan = copy.copy(dag.get_task("scan"))
    scan.render_template_fields({"params": params}, jinja_env=template)
    return scan.revision, scan.changes


@pytest.mark.parametrize("revision", ["v1", "1.10", "12e4567", "2026", "None", 'feature/it\'s-"so"'])
def test_a_revision_that_looks_like_something_else_stays_as_it_was_typed(dag: DAG, revision: str) -> None:
    assert rendered_scan(dag, revision=revision)[0] == revision


def test_the_form_offers_what_params_yaml_says_and_the_scan_gets_what_was_chosen(dag: DAG) -> None:
    expected = {name: param.resolve() for name, param in form.build(ROOT).items()}
    assert {name: dag.params[name] for name in dag.params} == expected
    changes = rendered_scan(dag, train_classifier__seeds=3, ingest__source="/data/1.10")[1]
    assert changes == form.changes(expected) | {"train_classifier.seeds": 3, "ingest.source": "/data/1.10"}


def test_it_parses_within_a_second_and_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", PARSE], cwd=ROOT, check=True, capture_output=True, text=True)
    seconds, imported = json.loads(done.stdout.splitlines()[-1])
    tops = {name.partition(".")[0] for name in imported}
    assert "plugins" in tops  # it measured what it should
    assert not tops & {"torch", "pandas", "numpy", "pyarrow", "dvc", "pipeline"}
    assert seconds < 1


def test_the_file_parses_at_once(dag_bag: DagBag) -> None:
    start = time.perf_counter()
    dag_bag.process_file(str(FILE), only_if_updated=False)
    assert time.perf_counter() - start < 1
