"""The files of docker/, read once for all tests."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE_TEXT = (DOCKER / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCKED = dict(re.findall(r"^([\w.-]+)==(.+)$", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE))
KNOWN = {
    name
    for folder in ("pipeline", "plugins", "dags")
    for path in (ROOT / folder).rglob("*.py")
    for name in re.findall(r"COUNTERWEIGHT_[A-Z0-9_]*[A-Z0-9]", path.read_text(encoding="utf-8"))
}


def run_tool(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command-line tool of this environment, whether or not its folder is on PATH."""
    beside = Path(sys.executable).parent / name
    command = str(beside) if beside.exists() else shutil.which(name)
    assert command, f"{name} is not installed; it is one of the extra dev"
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False)


def default(text: str) -> str:
    """What Compose puts for `${NAME:-default}` where the environment has no such name."""
    return re.sub(r"\$\{\w+(?::?-([^}]*))?[^}]*\}", lambda match: match[1] or "", text)


def stages() -> dict[str, list[tuple[str, str]]]:
    """Each stage of the Dockerfile with its instructions; `FROM`'s value is the image or stage that it begins with."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in DOCKERFILE.splitlines():
        instruction, _, value = line.partition(" ")
        if instruction == "FROM":
            image, name = value.split(" AS ")
            found[name] = [("FROM", image)]
        elif instruction.isupper():
            found[name].append((instruction, value.strip()))
    return found
