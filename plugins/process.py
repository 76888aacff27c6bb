"""Runs a command in a process group of its own: its lines are passed on as they come, and it can be killed whole."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GRACE_S = 10.0


class CommandError(RuntimeError):
    """A command ended with an exit status other than 0.

    Attributes:
        status: the exit status, negative for a signal.
        tail: its last lines.
    """

    def __init__(self, command: Sequence[str], status: int, tail: Sequence[str]) -> None:
        said = [line for line in tail if line.strip()] or ["no output"]
        self.status, self.tail = status, tuple(tail)
        last = next(reversed(self.complaints), said[-1])
        super().__init__(f"{' '.join(command[:4])}… ended with status {status}: {last.strip()}")

    @property
    def complaints(self) -> list[str]:
        """The lines in which the command itself says what is wrong, as DVC, git and the pipeline do."""
        return [line for line in self.tail if line.lower().startswith(("error", "fatal"))]


class Command:
    """One running command; `kill` ends every process that it started."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self._command = list(command)
        self._process = subprocess.Popen(
            self._command,
            cwd=cwd,
            env=dict(os.environ if env is None else env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        )

    def wait(self, line: Callable[[str], None], keep: int = 200) -> list[str]:
        """Passes on line after line until the command ends; returns the last `keep` lines.

        Raises:
            CommandError: the exit status is not 0.
        """
        assert self._process.stdout is not None, "stdout is piped"
        tail: list[str] = []
        with self._process.stdout as stdout:
            try:
                for text in stdout:
                    clean = text.removesuffix("\n")  # a progress bar's \r counts as a line's end too
                    tail = [*tail[-keep + 1 :], clean]
                    line(clean)
                status = self._process.wait()
            except BaseException:
                self.kill()
                raise
        if status:
            raise CommandError(self._command, status, tail)
        return tail

    def kill(self) -> None:
        """Asks the whole process group to end, and ends what is left after a grace period.

        It may be called in a signal handler while the same thread waits, so it leaves the output alone.
        """
        for number, grace in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                continue


def run(
    command: Sequence[str], cwd: Path, line: Callable[[str], None] | None = None, env: Mapping[str, str] | None = None
) -> list[str]:
    """Runs a command to its end; returns its last lines.

    Raises:
        CommandError: the exit status is not 0.
    """
    return Command(command, cwd, env).wait(line or (lambda _: None))
