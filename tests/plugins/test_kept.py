"""What is kept and what goes, by the references of a real git remote and the plans in a run store."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from plugins.kept import Policy
from plugins.references import references
from tests.plugins.retained import Remains, md5, nights, site

__all__ = ["nights", "site"]  # fixtures


def going(site: Remains, **policy: Any) -> list[str | None]:
    """The published runs that would go."""
    return [ref.slug for ref in site.retention(**policy)._choose().published]


@pytest.mark.parametrize(("keep", "runs"), [(1, ["second", "old"]), (2, ["old"]), (3, ["old"]), (4, [])])
def test_so_many_runs_are_kept_and_the_promoted_ones(nights: Remains, keep: int, runs: list[str]) -> None:
    assert going(nights, keep=keep) == runs


def test_a_young_run_is_kept_however_many_there_are(nights: Remains) -> None:
    assert going(nights, days=3.5) == ["second", "old"]
    assert going(nights, days=4.5) == ["old"]


@pytest.mark.parametrize("policy", [{"keep": 0}, {"min_age": timedelta(-1)}])
def test_a_policy_that_keeps_nothing_is_refused(policy: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^retention: keep must be at least 1 and min_age at least 0 days, got "):
        Policy(**policy)


@pytest.mark.parametrize(
    "leads",
    ["refs/heads/tried", "refs/tags/v1", "refs/exps/exec/EXEC_APPLY", "refs/exps/stash"],
)
def test_a_run_that_anything_else_leads_to_is_kept(site: Remains, leads: str) -> None:
    site.git("fetch", "--quiet", site.settings.git, site.full_name("old"))
    site.git("push", "--quiet", site.settings.git, f"FETCH_HEAD:{leads}")
    assert going(site) == ["second"]


def test_an_annotated_tag_keeps_a_run_and_a_tag_on_a_file_is_no_matter(site: Remains) -> None:
    site.git("fetch", "--quiet", site.settings.git, site.full_name("old"))
    site.git("tag", "--annotate", "--message", "v1", "v1", "FETCH_HEAD")
    site.git("tag", "--annotate", "--message", "v2", "v2", "v1")
    site.git("tag", "blob", "main:dvc.yaml")
    site.git("tag", "--annotate", "--message", "blob", "blob2", "main:dvc.yaml")
    site.git("push", "--quiet", site.settings.git, "v2", "blob", "blob2")
    assert going(site) == ["second"]


def test_a_run_that_was_published_once_more_keeps_its_files_in_the_run_store(site: Remains) -> None:
    site.git("fetch", "--quiet", site.settings.git, site.full_name("old"))
    site.git("push", "--quiet", site.settings.git, f"FETCH_HEAD:refs/exps/00/{38 * '0'}/newest")
    choice = site.retention()._choose()
    assert [ref.slug for ref in choice.published] == ["second", "old", "newest"]
    assert choice.slugs == ("old", "second")


def test_somebody_s_own_experiment_is_never_removed_nor_counted(site: Remains) -> None:
    data, model = site.folder(own=b"tried"), site.file(b"model of a trial")
    site.branch("trial", data, model)
    code = site.git("rev-parse", "main").strip()
    site.git("push", "--quiet", site.settings.git, f"trial:refs/exps/{code[:2]}/{code[2:]}/trial", ":trial")
    assert site.retention(keep=2).remove()["published"] == ["old"]
    assert "refs/exps/NIGHT/trial" in site.references()
    assert {data["md5"], md5(b"tried"), model["md5"]} <= site.objects()


def test_no_reference_is_overlooked_however_many_there_are(site: Remains) -> None:
    names = [f"refs/heads/b{number}" for number in range(1000)]
    commands = "".join(f"create {name} main\n" for name in names)
    site.git("update-ref", "--stdin", text=commands)
    found = references(site.root / "project")
    assert {ref.name for ref in found} == {*names, "refs/heads/main"}


def test_where_no_run_was_published_nothing_is_removed(tmp_path: Path) -> None:
    site = Remains.at(tmp_path / "site")
    site.file(b"of a first run that has failed")
    with pytest.raises(ValueError, match=r"^retention: the git remote has no published run to go by$"):
        site.retention().remove()
    assert site.objects() == {md5(b"of a first run that has failed")}
