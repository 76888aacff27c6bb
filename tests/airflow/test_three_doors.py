"""One result through each door: `dvc repro`, a run triggered with the form, the night's run, `airflow dags test`."""

from collections.abc import Iterator

import pytest

from plugins import lock as locks
from tests.airflow.running import Airflow, published, running
from tests.e2e.conftest import Project

PROMOTION = "promote_data_set"


@pytest.fixture(scope="module")
def airflow(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    with running(finished.clone(tmp_path_factory.mktemp("airflow") / "counterweight")) as airflow:
        yield airflow


@pytest.fixture(scope="module")
def runs(airflow: Airflow) -> tuple[str, str]:
    """A run triggered with the form, and after it, with nothing new, last night's."""
    triggered = airflow.trigger(run_after="2026-01-01T00:00:00Z", approval=True)  # before the night: it comes first
    night = airflow.unpause()
    airflow.wait(triggered)
    airflow.wait(night)
    return triggered, night


@pytest.fixture(scope="module")
def triggered(runs: tuple[str, str]) -> str:
    return runs[0]


@pytest.fixture(scope="module")
def night(runs: tuple[str, str]) -> str:
    return runs[1]


def lock_of(finished: Project) -> locks.Lock:
    return locks.parse((finished.root / "dvc.lock").read_text(encoding="utf-8"))


def took(airflow: Airflow, run: str) -> str:
    """A table of what each stage's task took, in s."""
    rows = [f"{'task':16} {'wall':>6} {'own':>6} {'stage':>6}"]
    for name in airflow.stages:
        wall, result = airflow.tasks(run)[name]["duration"], airflow.result(run, name)
        rows.append(f"{name:16} {wall:6.1f} {result['seconds']:6.1f} {result['stage_seconds']:6.1f}")
    return "\n".join(rows)


def test_a_run_triggered_with_the_form_gives_what_dvc_repro_gives(
    airflow: Airflow, triggered: str, finished: Project
) -> None:
    assert set(airflow.states(triggered).values()) == {"success"}
    print(took(airflow, triggered))
    assert [name for name in airflow.stages if airflow.result(triggered, name)["ran"]] == airflow.stages
    assert published(airflow.project, airflow.result(triggered, "publish")["reference"]) == lock_of(finished)


def test_with_nothing_new_a_night_runs_no_stage_and_pulls_nothing(
    airflow: Airflow, triggered: str, night: str, finished: Project
) -> None:
    assert set(airflow.states(night).values()) == {"success"}
    print(took(airflow, night))
    assert airflow.result(night, "scan")["started_from"] == airflow.result(triggered, "scan")["slug"]
    for name in airflow.stages:
        assert airflow.result(night, name)["ran"] is False
        said = "\n".join(airflow.log(night, name))
        assert f"Stage '{name}' didn't change, skipping" in said
        assert not [word for word in ("Running stage", "fetched", "added", "pushed") if word in said]
    first, second = (airflow.result(run, "publish") for run in (triggered, night))
    assert published(airflow.project, second["reference"]) == lock_of(finished)
    assert first["commit"] != second["commit"]


def test_a_run_is_handed_over_and_promoted_once_a_person_approves(airflow: Airflow, triggered: str, night: str) -> None:
    given = airflow.result(triggered, "publish")
    handed = {run["conf"]["slug"]: run for run in airflow.runs(PROMOTION)}
    assert set(handed) == {given["slug"], airflow.result(night, "publish")["slug"]}
    promotion = handed[given["slug"]]
    verdict = airflow.result(triggered, "evaluate")["metrics"]["verdict"]
    assert {name: promotion["conf"][name] for name in ("commit", "approval", "verdict")} == {
        "commit": given["commit"],
        "approval": True,
        "verdict": verdict,
    }
    airflow.approve(promotion["dag_run_id"], PROMOTION)
    airflow.wait(promotion["dag_run_id"], dag=PROMOTION)
    tag = airflow.project.run("git", "rev-parse", f"refs/tags/promoted/{given['slug']}").stdout.strip()
    assert tag == given["commit"]


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("train_classifier__seeds", 0, "0 is less than the minimum of 1"),
        ("train_classifier__seeds", "three", "'three' is not of type 'integer'"),
        ("train_generator__name", "vea", "'vea' is not one of ['flow', 'gan', 'vae']"),
        ("ingest__source", "", "'' should be non-empty"),
    ],
)
def test_a_wrong_value_is_refused_in_the_form(airflow: Airflow, field: str, value: object, told: str) -> None:
    before = len(airflow.runs())
    body = {"logical_date": None, "conf": airflow.form() | {field: value}}
    status, content = airflow.request("POST", "/dags/complete_dataset/dagRuns", body)
    assert status == 400
    assert f"Invalid input for param {field}: {told}" in content["detail"]
    assert len(airflow.runs()) == before
