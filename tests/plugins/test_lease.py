"""Retention and the tasks of runs keep out of each other's way, over a run store alone."""

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from plugins.lease import LEASE, MARGIN, BusyError, Worker, at_work, lease, workers
from plugins.run_store import FolderStore

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "runs")


@dataclass
class Clock:
    """A clock that goes on only when it is waited for."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        assert self.now < NOW + 2 * LEASE


def test_a_task_is_seen_while_it_is_at_work_and_no_longer(store: FolderStore) -> None:
    with at_work(store, "night-1", "group.train", print, clock=Clock()), at_work(store, "night-2", "scan", print):
        assert Worker("night-1", "group.train", NOW) in workers(store)
        assert len(workers(store)) == 2
    assert workers(store) == []
    with pytest.raises(KeyError), at_work(store, "night-1", "train", print):
        raise KeyError
    assert store.keys("") == []


def test_a_retry_replaces_what_a_killed_attempt_has_left(store: FolderStore) -> None:
    killed = at_work(store, "night-1", "train", print, clock=Clock(NOW - timedelta(hours=1)))
    killed.__enter__()
    with at_work(store, "night-1", "train", print, clock=Clock()):
        assert workers(store) == [Worker("night-1", "train", NOW)]
    assert workers(store) == []


def test_a_task_waits_for_the_end_of_a_retention_and_is_not_counted_meanwhile(store: FolderStore) -> None:
    lines: list[str] = []
    waiting, go_on, working = threading.Event(), threading.Event(), threading.Event()

    def pause(_: float) -> None:
        waiting.set()
        assert go_on.wait(10)

    def task() -> None:
        with at_work(store, "night-1", "scan", lines.append, clock=Clock(), pause=pause):
            working.set()

    with lease(store, "retain", clock=Clock()):
        thread = threading.Thread(target=task)
        thread.start()
        assert waiting.wait(10)
        assert workers(store) == []
        assert not working.is_set()
    go_on.set()
    thread.join(10)
    assert working.is_set()
    assert lines == ["scan: retention is removing old runs; waits for it to end, at most until 2026-01-02 05:04 UTC"]


def test_a_retention_that_was_killed_holds_up_nobody_for_ever(store: FolderStore) -> None:
    killed = lease(store, "retain", clock=Clock())
    killed.__enter__()
    clock = Clock()
    with at_work(store, "night-1", "scan", print, clock=clock, pause=clock.wait):
        assert clock.now == NOW + LEASE
    with pytest.raises(BusyError), lease(store, "retain-2", clock=Clock(NOW + LEASE - timedelta(seconds=1))):
        pass
    with lease(store, "retain-2", clock=Clock(NOW + LEASE)):
        pass


def test_one_retention_at_a_time_but_a_retry_goes_on_at_once(store: FolderStore) -> None:
    killed = lease(store, "retain", clock=Clock())
    killed.__enter__()
    said = "^another retention is removing old runs, at most until 2026-01-02 05:04 UTC$"
    with pytest.raises(BusyError, match=said), lease(store, "retain-2", clock=Clock()):
        pass
    assert store.keys("retention/") == ["retention/retain.json"]  # who gave way has left nothing
    later = Clock(NOW + timedelta(minutes=1))
    with (
        at_work(store, "retain", "retain", print, clock=later, pause=pytest.fail),
        lease(store, "retain", clock=later) as end,
    ):
        assert end == later.now + LEASE - MARGIN
    assert store.keys("") == []


class Interrupted(FolderStore):
    """A run store at which something else happens between two of its operations."""

    before: int
    then: Callable[[], None]

    def _count(self) -> None:
        Interrupted.before -= 1
        if Interrupted.before == 0:
            Interrupted.then()

    def put(self, key: str, data: bytes) -> None:
        self._count()
        super().put(key, data)

    def keys(self, prefix: str) -> list[str]:
        self._count()
        return super().keys(prefix)

    def delete(self, key: str) -> None:
        self._count()
        super().delete(key)


class Waits(Exception):  # noqa: N818 (no error: it is what would wait)
    """The task waits."""


@pytest.mark.parametrize("step", range(1, 6))
@pytest.mark.parametrize("first", ["task", "retention", "other retention"])
def test_wherever_the_one_comes_in_the_other_never_are_both_at_it(tmp_path: Path, first: str, step: int) -> None:
    inside: list[str] = []

    def wait(_: float) -> None:
        raise Waits

    def task(store: FolderStore) -> None:
        stack.enter_context(at_work(store, "night-1", "scan", print, clock=Clock(), pause=wait))
        inside.append("task")

    def retention(store: FolderStore, slug: str = "retain") -> None:
        with ExitStack() as mine:
            mine.enter_context(lease(store, slug, clock=Clock()))
            if workers(store):
                raise BusyError
            stack.enter_context(mine.pop_all())
        inside.append("retention")

    def attempt(act: Callable[[FolderStore], None], store: FolderStore) -> None:
        try:
            act(store)
        except (Waits, BusyError):
            inside.append("gave way")

    others = {"task": retention, "retention": task, "other retention": lambda store: retention(store, "retain-2")}
    Interrupted.before = step
    Interrupted.then = lambda: attempt(others[first], FolderStore(tmp_path))
    with ExitStack() as stack:
        attempt(task if first == "task" else retention, Interrupted(tmp_path))
        assert len(inside) == 2 or Interrupted.before > 0  # the other has come in
        assert len([name for name in inside if name != "gave way"]) <= 1
