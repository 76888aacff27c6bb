"""Removing old runs against a real git remote, DVC remote and run store."""

from datetime import timedelta
from pathlib import Path

import pytest

from plugins.lease import BusyError, at_work, lease
from plugins.process import Command, CommandError
from plugins.run_plan import save_fragment
from plugins.run_store import FolderStore
from tests.plugins.retained import SHARED, Remains, md5, nights, site, whole

__all__ = ["nights", "site"]  # fixtures
KEPT = whole("newest") | whole("promoted")


def test_what_no_kept_run_uses_goes_and_all_else_stays(site: Remains) -> None:
    making = site.folder(shared=SHARED, own=b"of a run in the making")
    starting = site.file(b"what a run in the making starts from")
    site.plan("making", 1, {"use": {"outs": [starting]}})
    save_fragment(site.store, "making", "make", {"outs": [making]})
    site.plan("failed", 9)
    save_fragment(site.store, "failed", "make", {"outs": [site.file(b"of a run that has failed")]})
    site.file(b"nobody's")
    site.branch("work", site.folder(own=b"of a branch"), site.file(b"model of a branch"))
    site.store.put("watch/1.json", b"{}")
    of_branch = {md5(b"of a branch"), md5(b"model of a branch")}
    of_branch |= {md5(f'[{{"md5": "{md5(b"of a branch")}", "relpath": "own"}}]'.encode()) + ".dir"}
    of_making = {making["md5"], md5(b"of a run in the making"), md5(b"what a run in the making starts from")}

    done = site.retention().remove()

    assert site.objects() == whole("newest") | whole("promoted") | of_making | of_branch
    assert sorted(site.references()) == [
        "refs/exps/NIGHT/newest",
        "refs/exps/NIGHT/promoted",
        "refs/heads/main",
        "refs/heads/work",
        "refs/tags/promoted/promoted",
    ]
    assert {key.split("/")[1] for key in site.store.keys("")} == {"newest", "promoted", "making", "1.json"}
    assert (done["removed"], done["published"], done["unpublished"]) == (True, ["second", "old"], ["failed"])
    # Two listings of 129 bytes; data of second and of old, model of old; nobody's; of a run that has failed.
    assert (done["objects"], done["bytes"]) == (7, 2 * 129 + 14 + 11 + 12 + 8 + 24)
    assert (done["used"], done["spared"], done["lost"]) == (len(site.objects()), 0, {})


def test_a_second_time_there_is_nothing_to_do(site: Remains) -> None:
    site.retention().remove()
    before = site.state()
    told = site.retention().remove()
    assert (told["objects"], told["bytes"], told["published"], told["unpublished"]) == (0, 0, [], [])
    assert site.state() == before


def test_a_dry_run_tells_the_same_and_touches_nothing(site: Remains) -> None:
    before = site.state()
    told = site.retention().look()
    assert site.state() == before
    assert "retention: would remove run old" in site.lines
    assert site.retention().remove() == told | {"removed": True}
    assert site.state() != before
    assert site.store.keys("retention/") == []


def test_with_an_active_run_it_refuses(site: Remains) -> None:
    before = site.state()
    for active, said in ((lambda: 1, "1 run is"), (lambda: 2, "2 runs are")):
        with pytest.raises(BusyError, match=f"^retention: {said} active; ask again when none is$"):
            site.retention(active=active).remove()
    assert site.state() == before
    assert site.store.keys("retention/") == []


def test_it_takes_the_lease_before_it_asks_who_is_active_and_keeps_it_to_the_end(site: Remains) -> None:
    held = []

    def active() -> int:
        held.append(("asked", site.store.keys("retention/"), len(site.references())))
        return 0

    class Watched(FolderStore):
        def delete(self, key: str) -> None:
            if key.startswith("runs/"):
                held.append(("removed", self.keys("retention/"), len(site.references())))
            super().delete(key)

    site.retention(active=active, store=Watched(site.root / "runs")).remove()
    assert held == [("asked", ["retention/retain.json"], 6)] + 6 * [("removed", ["retention/retain.json"], 4)]
    assert site.store.keys("retention/") == []


@pytest.mark.parametrize(("task", "days", "refused"), [("train", 1, True), ("train", 3, False), ("retain", 1, False)])
def test_while_a_task_is_at_work_it_refuses_unless_that_is_long_ago_or_its_own(
    site: Remains, task: str, days: float, refused: bool
) -> None:
    slug, began = "retain" if task == "retain" else "night", site.now - timedelta(days=days)
    with at_work(site.store, slug, task, site.lines.append, clock=lambda: began):
        before = site.state()
        if not refused:
            site.retention().remove()
            return
        said = f"^retention: task train of run night has been at work since {began:%Y-%m-%d %H:%M} UTC; ask again "
        with pytest.raises(BusyError, match=said):
            site.retention().remove()
    assert site.state() == before


def test_while_another_retention_is_at_it_it_refuses(site: Remains) -> None:
    before = site.state()
    with lease(site.store, "another", clock=lambda: site.now), pytest.raises(BusyError, match=r"^another retention "):
        site.retention().remove()
    assert site.state() == before


def test_a_git_remote_that_keeps_its_references_keeps_everything(site: Remains) -> None:
    hook = Path(site.settings.git) / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    before = site.state()
    with pytest.raises(CommandError, match="git push"):
        site.retention().remove()
    assert site.state() == before
    assert site.store.keys("retention/") == []


def test_as_many_references_as_there_are_go(site: Remains) -> None:
    site.git("fetch", "--quiet", site.settings.git, f"{site.full_name('old')}:refs/heads/old")
    names = [f"refs/exps/00/{38 * '0'}/old-{number}" for number in range(250)]
    site.git("update-ref", "--stdin", text="".join(f"create {name} old\n" for name in names))
    site.git("push", "--quiet", site.settings.git, *names)
    assert len(site.retention().remove()["published"]) == 252
    assert [name for name in site.references() if "exps" in name] == [
        "refs/exps/NIGHT/newest",
        "refs/exps/NIGHT/promoted",
    ]


def test_a_run_that_is_promoted_while_it_looks_is_kept(site: Remains) -> None:
    looks = []

    def started(_: Command) -> None:
        looks.append(1)
        if len(looks) == 1:
            site.git("fetch", "--quiet", site.settings.git, site.full_name("old"))
            site.git("push", "--quiet", site.settings.git, "FETCH_HEAD:refs/tags/promoted/old")

    done = site.retention(started=started).remove()
    assert done["published"] == ["second"]
    assert len(looks) == 3
    assert site.objects() == KEPT | whole("old")


class Dying(FolderStore):
    """A run store that is out of reach once so many keys are deleted."""

    left: int

    def delete(self, key: str) -> None:
        if key.startswith("runs/"):
            if Dying.left == 0:
                raise ConnectionError(key)
            Dying.left -= 1
        super().delete(key)


@pytest.mark.parametrize("keys", [None, 0, 1, 4])
def test_dead_at_any_point_all_that_is_kept_is_whole_and_the_next_time_does_the_rest(
    site: Remains, keys: int | None
) -> None:
    """Dead between the references and the objects, between these and the run store, or in the middle of that."""
    processes: list[Command] = []

    def started(command: Command) -> None:
        processes.append(command)
        if keys is None and len(processes) == 2:
            command.kill()

    Dying.left = 99 if keys is None else keys
    with pytest.raises((ConnectionError, CommandError)):
        site.retention(store=Dying(site.root / "runs"), started=started).remove()
    assert site.objects() > KEPT if keys is None else site.objects() == KEPT
    assert [name for name in site.references() if "exps" in name] == [
        "refs/exps/NIGHT/newest",
        "refs/exps/NIGHT/promoted",
    ]
    done = site.retention().remove()
    assert site.objects() == KEPT
    assert {key.split("/")[1] for key in site.store.keys("")} == {"newest", "promoted"}
    assert done["unpublished"] == (["second"] if keys == 4 else ["old", "second"])
