"""`make up` and `make down`, with everything real but Docker: its stand-in runs git in place of the container."""

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.files import DOCKER

# `docker compose version` succeeds if there is a file `compose` beside it; `… exec -T git COMMAND PATH` runs COMMAND.
DOCKER_STANDS_IN = """#!/bin/bash
echo "$*" >> "$STAND_IN/calls"
[ -e "$STAND_IN/compose" ] || exit 1
case "$*" in *"exec -T git "*) exec "${@: -2:1}" "$STAND_IN/bare.git" ;; esac
"""


class Stack:
    """A checkout with a commit, and a stand-in for Docker."""

    def __init__(self, folder: Path) -> None:
        self.root, self.stand_in = folder / "project", folder / "stand-in"
        (self.root / "docker").mkdir(parents=True)
        self.stand_in.mkdir()
        shutil.copy(DOCKER / "stack.sh", self.root / "docker")
        docker = self.stand_in / "docker"
        docker.write_text(DOCKER_STANDS_IN, encoding="utf-8")
        docker.chmod(0o755)
        (self.stand_in / "compose").touch()
        self.git("init", "--quiet", "--initial-branch=mine")
        self.git("add", ".")
        self.git("-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--quiet", "--message=first")
        self.git("init", "--quiet", "--bare", "--initial-branch=main", str(self.stand_in / "bare.git"))

    @property
    def secrets(self) -> Path:
        return self.root / "docker" / ".env"

    @property
    def calls(self) -> list[str]:
        path = self.stand_in / "calls"
        return path.read_text(encoding="utf-8").splitlines() if path.exists() else []

    def git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=self.root, check=True, capture_output=True, text=True
        ).stdout.strip()

    def run(self, word: str) -> subprocess.CompletedProcess[str]:
        path = f"{self.stand_in}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "HOME": str(self.stand_in), "STAND_IN": str(self.stand_in)}
        script = self.root / "docker" / "stack.sh"
        return subprocess.run([script, word], env=env, cwd="/", capture_output=True, text=True, check=False)

    def pushed(self) -> str:
        return self.git(
            "--git-dir", str(self.stand_in / "bare.git"), "for-each-ref", "--format=%(refname) %(objectname)"
        )


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    return Stack(tmp_path)


def settings(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_up_writes_secrets_for_the_user_alone_and_says_where_the_ui_is(stack: Stack) -> None:
    done = stack.run("up")
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(stack.secrets.stat().st_mode) == 0o600
    made = settings(stack.secrets)
    keys = {name: value for name, value in made.items() if name not in {"COMPOSE_PROFILES", "CPU_WORKER_QUEUES"}}
    assert len(set(keys.values())) == len(keys) == 8
    assert min(len(value) for value in keys.values()) >= 18
    assert "http://127.0.0.1:8080" in done.stdout
    assert "docker/.env" in done.stdout
    assert keys["ADMIN_PASSWORD"] not in done.stdout + done.stderr
    assert any(call.endswith("up --build --detach") for call in stack.calls)


def test_the_fernet_key_is_one(stack: Stack) -> None:
    from cryptography.fernet import Fernet

    stack.run("up")
    fernet = Fernet(settings(stack.secrets)["FERNET_KEY"])
    assert fernet.decrypt(fernet.encrypt(b"x")) == b"x"


def test_a_second_up_keeps_the_secrets_and_another_checkout_has_others(stack: Stack, tmp_path: Path) -> None:
    stack.run("up")
    first = stack.secrets.read_bytes()
    assert stack.run("up").returncode == 0
    assert stack.secrets.read_bytes() == first
    other = Stack(tmp_path / "other")
    other.run("up")
    mine, others = settings(stack.secrets), settings(other.secrets)
    assert {name for name in mine if mine[name] == others[name]} == {"COMPOSE_PROFILES", "CPU_WORKER_QUEUES"}


def test_up_pushes_the_commit_that_is_checked_out(stack: Stack) -> None:
    stack.run("up")
    assert stack.pushed() == f"refs/heads/main {stack.git('rev-parse', 'HEAD')}"
    stack.git("-c", "user.name=T", "-c", "user.email=t@example.com", "commit", "--amend", "--quiet", "--message=again")
    stack.run("up")
    assert stack.pushed() == f"refs/heads/main {stack.git('rev-parse', 'HEAD')}"


def test_up_says_that_what_is_not_committed_is_no_part_of_a_run(stack: Stack) -> None:
    assert "note:" not in stack.run("up").stdout
    script = stack.root / "docker" / "stack.sh"
    script.write_text(script.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert "note: runs use committed code" in stack.run("up").stdout


def test_up_pushes_nothing_where_another_git_remote_is_named(stack: Stack) -> None:
    stack.run("up")
    with stack.secrets.open("a", encoding="utf-8") as file:
        file.write("COUNTERWEIGHT_GIT=https://git.example.com/team/counterweight.git\n")
    before = len([call for call in stack.calls if "exec" in call])
    assert stack.run("up").returncode == 0
    assert len([call for call in stack.calls if "exec" in call]) == before == 1


@pytest.mark.parametrize("word", ["up", "down"])
def test_without_compose_one_line_says_so_and_nothing_is_written(stack: Stack, word: str) -> None:
    (stack.stand_in / "compose").unlink()
    done = stack.run(word)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"make: make {word} needs Docker with its Compose plugin (docker compose version)"
    ]
    assert not stack.secrets.exists()


def test_down_stops_the_gpu_s_worker_too_and_keeps_volumes(stack: Stack) -> None:
    stack.run("up")
    assert stack.run("down").returncode == 0
    assert stack.calls[-1].endswith("--profile gpu down")
    assert stack.secrets.exists()


def test_down_before_up_has_nothing_to_stop(stack: Stack) -> None:
    done = stack.run("down")
    assert done.returncode == 1
    assert "nothing to stop" in done.stderr
    assert len(done.stderr.splitlines()) == 1
