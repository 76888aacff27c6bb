"""The Dockerfile, without building it: docker/verify.sh does that."""

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docker.files import DOCKER, DOCKERFILE, LOCKED, PROJECT, ROOT, run_tool, stages

TARGETS = ("airflow", "worker-cpu", "worker-gpu")
STAGES = stages()
CONTEXT = [line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.strip()]
SENT = [line.removeprefix("!") for line in CONTEXT if line.startswith("!")]

every_target = pytest.mark.parametrize("target", TARGETS)


def installed_by(target: str) -> list[str]:
    """The instructions of the stage that a target takes its packages from."""
    source = next(re.search(r"--from=(\S+)", value) for name, value in STAGES[target] if "/opt/venv" in value)
    assert source is not None
    return [value for name, value in STAGES[source[1]] if name == "RUN"]


def closure(names: list[str]) -> set[str]:
    """All packages that these bring, themselves included, as installed here; markers and extras are heeded."""
    found: set[tuple[str, str]] = set()
    waiting = [(name, "") for name in names]
    while waiting:
        text, extra = waiting.pop()
        asked = Requirement(text)
        if asked.marker and not asked.marker.evaluate({"extra": extra}):
            continue
        for wanted in {"", *asked.extras}:
            key = (canonicalize_name(asked.name), wanted)
            if key in found:
                continue
            found.add(key)
            try:
                waiting += [(line, wanted) for line in requires(asked.name) or ()]
            except PackageNotFoundError:
                assert key[0] not in LOCKED, f"{key[0]} is locked and not installed here"
    return {name for name, _ in found}


def at_import(path: Path) -> Iterator[str]:
    """Modules that a file imports as soon as it is imported itself."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def imported() -> dict[str, str]:
    """The packages that DAG files and the plug-in of the UI import, our own modules in between included."""
    waiting, seen, packages = [*(ROOT / "dags").glob("*.py"), ROOT / "plugins" / "ui.py"], set(), {}
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for module in at_import(path):
            ours = ROOT / f"{module.replace('.', '/')}.py"
            if ours.is_file():
                waiting.append(ours)
            elif not module.startswith("plugins"):
                packages[module.partition(".")[0]] = path.name
    return packages


def airflow_packages() -> set[str]:
    """What the target `airflow` installs, by the rule that its stage states."""
    (rule,) = installed_by("airflow")
    extras = re.findall(r"\*extras\['(\w+)'\]", rule)
    single = re.findall(r", '([\w-]+)'", rule)
    assert extras
    return closure([*(line for extra in extras for line in PROJECT["optional-dependencies"][extra]), *single])


def test_hadolint_finds_nothing() -> None:
    done = run_tool("hadolint", DOCKER / "Dockerfile")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("script", sorted(DOCKER.glob("*.sh")), ids=lambda path: path.name)
def test_a_script_is_valid_and_executable(script: Path) -> None:
    done = run_tool("bash", "-n", script)
    assert (done.returncode, done.stderr) == (0, "")
    assert script.stat().st_mode & 0o111


@every_target
def test_an_image_is_not_run_by_root_and_says_whether_it_is_healthy(target: str) -> None:
    names = [name for name, _ in STAGES[target]]
    assert dict(STAGES[target])["USER"] == "1000"
    assert "HEALTHCHECK" in names
    assert not {"RUN", "COPY", "ADD"} & set(names[names.index("USER") :]), "the code is not the user's to change"


@every_target
def test_an_image_is_from_a_pinned_base(target: str) -> None:
    image = target
    while image in STAGES:
        image = STAGES[image][0][1]
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", image)


def test_uv_is_the_makefile_s() -> None:
    version = re.search(r"^UV_VERSION := (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert version is not None
    assert re.findall(r"UV_VERSION=(\S+)", DOCKERFILE) == [version[1]]


def test_versions_come_from_the_lock_alone() -> None:
    assert re.findall(r"[\w-]+[=<>~]=\d[\w.]*", DOCKERFILE) == []
    assert "UV_CONSTRAINT=requirements.lock" in DOCKERFILE


@pytest.mark.parametrize("target", ["worker-cpu", "worker-gpu"])
def test_a_worker_gets_the_project_s_packages_and_airflow_s(target: str) -> None:
    (rule,) = installed_by(target)
    extras = re.findall(r"--extra (\w+)", rule)
    assert "--requirements pyproject.toml" in rule
    assert set(extras) == {"airflow", "cluster", "ray"} <= set(PROJECT["optional-dependencies"])


def test_the_image_of_airflow_has_no_torch() -> None:
    assert "torch" in closure(PROJECT["dependencies"])
    assert not {"torch", "dvc", "pandas"} & airflow_packages()


def test_the_image_of_airflow_has_what_plugins_and_dags_import() -> None:
    has, owners, needed = airflow_packages(), packages_distributions(), imported()
    assert {"airflow", "yaml", "ruamel"} <= set(needed)
    for package in set(needed) - set(sys.stdlib_module_names):
        assert has & {canonicalize_name(owner) for owner in owners[package]}, f"{needed[package]} imports {package}"


def test_the_context_holds_what_is_copied() -> None:
    copied = {
        source
        for instructions in STAGES.values()
        for name, value in instructions
        if name == "COPY" and "--from=" not in value
        for source in value.split()[:-1]
    }
    assert copied - {"."} <= set(SENT)
    assert [path for path in SENT if not (ROOT / path).exists()] == []


def test_the_context_holds_the_code_and_nothing_that_is_large_or_secret() -> None:
    assert next(line for line in CONTEXT if not line.startswith("#")) == "*", "nothing but what is named"
    assert set(SENT) >= {
        "dags",
        "pipeline",
        "plugins",
        "docker/health.py",
        "docker/placement",
        "dvc.yaml",
        "params.yaml",
    }
    named = {
        ".git",
        ".venv",
        ".env",
        "docker",
        "docker/.env",
        ".airflow",
        ".dvc",
        ".remote",
        "data",
        "models",
        "results",
    }
    assert not named & set(SENT)


def test_scripts_and_folders_that_an_image_names_are_in_it() -> None:
    for target in TARGETS:
        for name, value in STAGES[target]:
            if name in {"CMD", "HEALTHCHECK"}:
                for path in re.findall(r'"(docker/[^"]+)"', value):
                    assert path in SENT, path
