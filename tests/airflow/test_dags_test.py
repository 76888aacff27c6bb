"""`airflow dags test` is a door too: it runs the whole graph without a server, and gives what `dvc repro` gives."""

from pathlib import Path

from plugins import lock as locks
from tests.airflow.running import DAG, command, published
from tests.e2e.conftest import Project


def test_without_a_server_all_stages_give_what_dvc_repro_gives(finished: Project, tmp_path: Path) -> None:
    project = finished.clone(tmp_path / "counterweight")
    command(project, "db", "migrate")
    assert "state=success" in command(project, "dags", "test", DAG)
    references = project.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split()
    assert len(references) == 1
    lock = locks.parse((finished.root / "dvc.lock").read_text(encoding="utf-8"))
    assert published(project, references[0]) == lock
