"""What the documents show is there and runs."""

import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    *("README.md", "ARCHITECTURE.md", "CHANGELOG.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")),
)


def _shell_lines(document: str) -> list[str]:
    text = (ROOT / document).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line.partition(" #")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_linked_files_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert [link for link in links if link and not ((ROOT / document).parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_named_files_of_the_pipeline_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(r"`((?:pipeline|tests|dags|plugins)/[\w/.]+)`", text)
    assert all((ROOT / name).exists() for name in named if "NAME" not in name)


def test_make_targets_of_the_readme_exist() -> None:
    targets = [line.split()[1] for line in _shell_lines("README.md") if line.startswith("make ")]
    assert targets
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in targets:
        assert f"make {target} " in shown, target


def test_dvc_commands_of_the_readme_are_understood_by_dvc() -> None:
    commands = [line.split()[1:] for line in _shell_lines("README.md") if line.startswith(".venv/bin/dvc ")]
    assert commands
    for command in commands:
        words = [word for word in command if not word.startswith("-")]
        path = words[:2] if words[0] in {"params", "metrics", "plots", "remote"} else words[:1]
        subprocess.run([sys.executable, "-m", "dvc", *path, "--help"], check=True, capture_output=True)


def test_every_environment_variable_is_documented() -> None:
    folders = ("pipeline", "plugins", "dags", "benchmarks", "tests")
    sources = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    name = r"COUNTERWEIGHT_[A-Z][A-Z0-9_]*[A-Z0-9]"
    used = {found for path in sources for found in re.findall(name, path.read_text(encoding="utf-8"))}
    texts = [(ROOT / document).read_text(encoding="utf-8") for document in DOCUMENTS]
    documented = {found for text in texts for found in re.findall(name, text)}
    assert used == documented


def test_the_readme_shows_the_graph_of_dvc_yaml() -> None:
    from plugins.dvc_graph import read_graph

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    mermaid = re.search(r"```mermaid\n(.*?)```", text, flags=re.DOTALL)
    assert mermaid is not None
    edges: set[tuple[str, str]] = set()
    for line in mermaid[1].splitlines()[1:]:
        groups = [[name.strip().split("(")[0] for name in part.split("&")] for part in re.split(r"-\.->|-->", line)]
        edges |= {(a, b) for left, right in pairwise(groups) for a in left for b in right}
    upstream = {name: set(stage.upstream) for name, stage in read_graph(ROOT).items()}
    assert {name for edge in edges for name in edge} == set(upstream) | {"scan"}
    assert all(a == "scan" or a in _ancestors(b, upstream) for a, b in edges)


def _ancestors(name: str, upstream: dict[str, set[str]]) -> set[str]:
    direct = upstream[name]
    return direct.union(*(_ancestors(parent, upstream) for parent in direct)) if direct else set()
