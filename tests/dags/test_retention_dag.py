import copy
import inspect
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.utils.state import DagRunState

from plugins.lease import LEASE, BusyError
from plugins.operators import Run
from plugins.retain_operator import RetainOperator
from tests.plugins.retained import Remains, md5
from tests.tiny import ROOT


@pytest.fixture(scope="module")
def dag() -> DAG:
    dag_bag = DagBag(dag_folder=ROOT / "dags" / "remove_old_runs.py")
    assert dag_bag.import_errors == {}
    assert dag_bag.captured_warnings == {}
    return dag_bag.dags["remove_old_runs"]


def rendered(dag: DAG, **chosen: object) -> RetainOperator:
    """The task as the form makes it."""
    params = {name: dag.params[name] for name in dag.params} | chosen
    task = copy.copy(dag.get_task("retain"))
    task.render_template_fields({"params": params}, jinja_env=dag.get_template_env())
    assert isinstance(task, RetainOperator)
    return task


def test_by_itself_it_comes_weekly_and_removes_nothing(dag: DAG) -> None:
    assert dag.timetable.summary == "0 12 * * 0"
    assert (dag.max_active_runs, dag.catchup) == (1, False)
    task = rendered(dag)
    assert (task.keep, task.min_age_days, task.remove) == (14, 2, False)


def test_it_removes_where_the_form_says_so(dag: DAG) -> None:
    task = rendered(dag, dry_run=False, keep=3, min_age_days=7)
    assert (task.keep, task.min_age_days, task.remove) == (3, 7, True)


@pytest.mark.parametrize(("name", "value"), [("keep", 0), ("min_age_days", 0), ("dry_run", "no")])
def test_the_form_takes_no_value_that_would_remove_what_is_needed(dag: DAG, name: str, value: object) -> None:
    with pytest.raises(ValueError, match="Invalid input for param"):
        dag.params[name] = value


def test_it_looks_out_for_the_runs_that_it_removes_and_ends_before_its_lease(dag: DAG) -> None:
    task = rendered(dag)
    assert task.runs_of == "complete_dataset"
    assert (ROOT / "dags" / f"{task.runs_of}.py").exists()
    assert task.execution_timeout is not None
    assert timedelta(0) < task.execution_timeout <= LEASE


class Counted:
    """Stands for Airflow's server: so many runs are active."""

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, dict[str, Any]()

    def get_dr_count(self, **asked: Any) -> int:
        inspect.signature(RuntimeTaskInstance.get_dr_count).bind(**asked)  # as the real one is asked
        self.asked = asked
        return self.count


def test_it_asks_airflow_for_every_state_that_is_not_an_end(dag: DAG, tmp_path: Path) -> None:
    site, ti = Remains.at(tmp_path / "site"), Counted(1)
    site.file(b"in use")
    run = Run({"ti": ti}, "retain", site.store, site.settings, {})  # type: ignore[typeddict-item]
    with pytest.raises(BusyError, match=r"^retention: 1 run is active"):
        rendered(dag, dry_run=False).step(run)
    states = {state.value for state in DagRunState} - {"success", "failed"}
    assert (ti.asked["dag_id"], set(ti.asked["states"])) == ("complete_dataset", states)
    assert site.objects() == {md5(b"in use")}
