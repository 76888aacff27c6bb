import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

from plugins.airflow_settings import CLASSIFIER, COMPLETED_DATA_SET
from plugins.operators import PromoteOperator
from tests.tiny import ROOT

ASSETS = {COMPLETED_DATA_SET, CLASSIFIER}


@pytest.fixture(scope="module")
def dag_bag() -> DagBag:
    dag_bag = DagBag(dag_folder=ROOT / "dags")
    assert dag_bag.import_errors == {}
    assert dag_bag.captured_warnings == {}
    return dag_bag


@pytest.fixture(scope="module")
def dag(dag_bag: DagBag) -> DAG:
    return dag_bag.dags["promote_data_set"]


def test_every_file_is_a_dag(dag_bag: DagBag) -> None:
    assert set(dag_bag.dags) == {path.stem for path in (ROOT / "dags").glob("*.py")}


@pytest.mark.parametrize(
    ("verdict", "approval", "following"),
    [
        ("ship", False, "promote"),
        ("ship", True, "approve"),
        ("hold", False, "approve"),
        ("hold", True, "approve"),
    ],
)
def test_only_what_ships_is_promoted_unasked(dag: DAG, verdict: str, approval: bool, following: str) -> None:
    decide = dag.get_task("decide").python_callable
    assert decide(params={"verdict": verdict, "approval": approval}) == following


def test_without_an_answer_nothing_is_promoted(dag: DAG) -> None:
    approve = dag.get_task("approve")
    assert approve.defaults == ["Reject"]
    assert approve.response_timeout is not None
    assert approve.downstream_task_ids == {"promote"}
    assert dag.get_task("promote").trigger_rule == "none_failed_min_one_success"


def test_a_run_triggered_by_hand_is_on_the_safe_side(dag: DAG) -> None:
    assert (dag.params["verdict"], dag.params["approval"]) == ("hold", True)


def test_a_promotion_updates_the_assets_that_the_example_waits_for(dag: DAG, dag_bag: DagBag) -> None:
    promote = dag.get_task("promote")
    assert isinstance(promote, PromoteOperator)
    assert set(promote.outlets) == ASSETS
    waits_for = dag_bag.dags["completed_data_set_consumer"].timetable.asset_condition.objects
    assert {asset.uri for asset in waits_for} == {asset.uri for asset in ASSETS}
