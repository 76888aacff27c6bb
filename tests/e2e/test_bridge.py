"""The bridge without Airflow: every task on a worker of its own, nothing shared but git, a remote and a run store."""

import json

import pytest

from plugins import lock as locks
from plugins.publish import reference
from tests.builders import digests
from tests.e2e.bridge import Night, Watched, run_night, site_of
from tests.e2e.conftest import Project

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture(scope="module")
def whole(finished: Project, tmp_path_factory: pytest.TempPathFactory) -> Night:
    """All stages of the commit that `finished` has run with plain `dvc repro`."""
    return run_night(site_of(finished, tmp_path_factory.mktemp("whole")), "night-1")


def outs_of(project: Project, stages: list[str]) -> dict[str, dict[str, str]]:
    outs = [out for stage in project.outs().items() if stage[0] in stages for out in stage[1]]
    return {out: digests(project.root / out) or {"": (project.root / out).read_bytes().hex()} for out in outs}


def test_two_doors_one_result(whole: Night, finished: Project) -> None:
    assert {stage: task.ran for stage, task in whole.tasks.items()} == {stage: {stage} for stage in whole.tasks}
    assert all(task.result.ran for task in whole.tasks.values())
    lock = locks.parse((finished.root / "dvc.lock").read_text(encoding="utf-8"))
    assert whole.site.entries(whole.plan) == lock
    assert whole.tasks["evaluate"].result.metrics is not None
    assert whole.tasks["evaluate"].result.metrics["verdict"] in ("ship", "hold")


# The ways back that docs/airflow.md names.
EXPERIMENT = ("dvc exp pull origin {slug}", "dvc exp apply {slug}")
PLAIN_GIT = ("git fetch --quiet origin {ref}", "git checkout --quiet --detach FETCH_HEAD", "dvc pull")


@pytest.mark.parametrize("recipe", [EXPERIMENT, PLAIN_GIT], ids=["dvc exp", "git and dvc pull"])
def test_from_a_fresh_clone_a_night_comes_back_bit_for_bit_and_nothing_is_to_be_done(
    whole: Night, finished: Project, recipe: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    clone = whole.site.clone(f"back by {request.node.callspec.id}")
    assert whole.plan.slug in clone.run("dvc", "exp", "list", "--all-commits", "--name-only", "origin").stdout.split()
    for command in recipe:
        clone.run(*command.format(slug=whole.plan.slug, ref=reference(whole.plan)).split())
    stages = whole.site.stages()
    assert outs_of(clone, stages) == outs_of(finished, stages)
    said = clone.run("dvc", "repro").stdout
    assert "Running stage" not in said
    assert "Data and pipelines are up to date." in said
    assert clone.outs() == finished.outs()


def test_with_nothing_new_no_stage_is_run_and_no_data_downloaded(whole: Night) -> None:
    plan = whole.site.scan("night-2")
    assert plan.started_from == "night-1"
    watched = Watched(whole.site.store, whole.site)
    tasks = whole.site.run_all(plan, watched)
    assert not [name for name, task in tasks.items() if task.ran or task.result.ran]
    assert watched.on_disk == []
    assert whole.site.entries(plan) == whole.site.entries(whole.plan)
    assert tasks["evaluate"].result.metrics == whole.tasks["evaluate"].result.metrics
    whole.site.publish(plan)


def test_a_night_with_other_classifiers_is_the_next_look_and_is_published_as_such(whole: Night) -> None:
    plan = whole.site.scan("night-3", train_classifier__added__weight=0.3)
    tasks = whole.site.run_all(plan)
    looks = [night["evaluate"].result.metrics["look"] for night in (whole.tasks, tasks)]
    assert [look["number"] for look in looks] == [1, 2]
    assert not tasks["report"].ran - {"report"}  # the next worker finds the ledger as `evaluate` left it
    commit = whole.site.publish(plan)
    clone = whole.site.clone("of night 3")
    clone.run("git", "fetch", "--quiet", "origin", reference(plan))
    published = json.loads(clone.run("git", "show", f"{commit}:looks.json").stdout)
    assert [len(split["looks"]) for split in published["test_splits"]] == [2]
