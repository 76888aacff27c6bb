import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from plugins import process
from plugins.process import Command, CommandError, run

# A command whose child and grandchild ignore SIGTERM, as does the command itself where it is told to.
FAMILY = """
import os, signal, subprocess, sys, time
depth = int(sys.argv[1])
if depth < 2 or "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", sys.argv[2], str(depth - 1), *sys.argv[2:]]) if depth else None
print(os.getpid(), flush=True)
time.sleep(20)  # so that a test fails, and does not hang, where nothing is killed
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie that waits to be reaped by init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Family:
    """Passes for a line callback: notes the pids that the family prints, and calls `then` when all are there."""

    def __init__(self, then: object) -> None:
        self.pids: list[int] = []
        self._then, self._start = then, time.monotonic()

    def __call__(self, line: str) -> None:
        self.pids.append(int(line))
        if len(self.pids) == 3:
            self._then()  # type: ignore[operator]

    def were_killed(self) -> bool:
        """Whether all end long before they would by themselves."""
        while any(map(is_alive, self.pids)) and time.monotonic() < self._start + 10:
            time.sleep(0.01)
        return len(self.pids) == 3 and time.monotonic() < self._start + 10


def test_a_line_is_passed_on_before_the_command_ends(tmp_path: Path) -> None:
    waits = "import pathlib, time\nprint('first', flush=True)\nwhile not pathlib.Path('go').exists(): time.sleep(0.01)"
    lines: list[str] = []

    def line(text: str) -> None:
        lines.append(text)
        (tmp_path / "go").touch()  # without it the command would never end

    assert Command(python(waits + "\nprint('last')"), tmp_path).wait(line) == ["first", "last"]
    assert lines == ["first", "last"]


def test_standard_error_a_progress_bar_and_bytes_that_are_no_text_arrive_as_lines(tmp_path: Path) -> None:
    code = r"import os; os.write(2, b'10%\r50%\r100%\n'); os.write(1, b'caf\xe9 \xc3\xa9\r\n\nno newline')"
    assert run(python(code), tmp_path) == ["10%", "50%", "100%", "caf\ufffd é", "", "no newline"]


def test_only_the_last_lines_are_kept(tmp_path: Path) -> None:
    assert Command(python("for i in range(10): print(i)"), tmp_path).wait(lambda _: None, keep=3) == ["7", "8", "9"]


def test_it_runs_in_the_folder_and_environment_given_and_can_ask_for_nothing(tmp_path: Path) -> None:
    code = "import os, sys; print(os.getcwd(), os.environ.get('GIVEN'), os.environ.get('HOME'), repr(sys.stdin.read()))"
    assert run(python(code), tmp_path, env={"GIVEN": "ü"}) == [f"{tmp_path} ü None ''"]


def test_a_failure_bears_its_status_and_last_lines(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"ended with status 3: the reason$") as caught:
        run(python("print('before'); print('the reason'); print(); raise SystemExit(3)"), tmp_path)
    assert caught.value.status == 3
    assert caught.value.tail == ("before", "the reason", "")
    with pytest.raises(CommandError, match=r"ended with status -9: no output$") as caught:
        run(python("import os; os.kill(os.getpid(), 9)"), tmp_path)
    assert caught.value.status == -9


@pytest.mark.parametrize("temper", ["meek", "stubborn"])
def test_kill_ends_children_and_grandchildren_that_ignore_sigterm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, temper: str
) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    command = Command(python(FAMILY, "2", FAMILY, temper), tmp_path)
    killer = threading.Thread(target=command.kill)  # as when the one who kills is not the one who waits
    family = Family(killer.start)
    with pytest.raises(CommandError) as caught:
        command.wait(family)
    killer.join()
    assert caught.value.status == {"meek": -signal.SIGTERM, "stubborn": -signal.SIGKILL}[temper]
    assert family.were_killed()
    command.kill()  # there is nothing left to kill, and that is fine


def test_kill_from_a_signal_handler_ends_all_while_the_command_is_being_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow calls `on_kill` in a handler of SIGTERM, in the very thread that reads the command's lines."""
    monkeypatch.setattr(process, "GRACE_S", 0.5)
    command = Command(python(FAMILY, "2", FAMILY, "meek"), tmp_path)
    before = signal.signal(signal.SIGALRM, lambda *_: command.kill())
    family = Family(lambda: signal.setitimer(signal.ITIMER_REAL, 0.2))
    try:
        with pytest.raises(CommandError, match="status -15"):
            command.wait(family)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert family.were_killed()


def test_an_error_while_it_is_read_such_as_a_timeout_ends_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_S", 0.5)

    def timeout() -> None:
        raise TimeoutError("the task's time is up")

    family = Family(timeout)
    with pytest.raises(TimeoutError):
        Command(python(FAMILY, "2", FAMILY, "meek"), tmp_path).wait(family)
    assert family.were_killed()
