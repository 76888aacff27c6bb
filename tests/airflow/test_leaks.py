"""What looks for secrets finds them, in whatever form they were left."""

import base64
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.airflow.leaks import leaks, places_in
from tests.e2e.conftest import Project


@pytest.mark.parametrize("form", ["plain", "base64", "inside base64", "row", "commit"])
def test_a_secret_that_is_left_is_found(tmp_path: Path, form: str) -> None:
    secret = secrets.token_urlsafe(15) + "/+"
    if form == "row":
        with closing(sqlite3.connect(tmp_path / "some.db")) as database, database:
            database.execute("create table xcom (value text)")
            database.executemany("insert into xcom values (?)", [("x" * 9000 + secret,)])
    elif form == "commit":
        project = Project(tmp_path)
        project.run("git", "init", "--quiet")
        (tmp_path / "file").write_text(secret)
        project.commit()
        (tmp_path / "file").unlink()
    else:
        coded = {"plain": secret, "base64": code(secret), "inside base64": code(f"me:{secret} and more")}
        (tmp_path / "log").write_text(f"said {coded[form]}")
    assert leaks(places_in(tmp_path), secret)
    assert not leaks(places_in(tmp_path), "another-secret")


def code(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
