"""Import closure of a module of ours, read from the sources."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]


@cache
def imports(path: Path) -> frozenset[Path]:
    """Files of `pipeline` that a file imports, at any depth of its code."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.startswith("pipeline"):
                found |= _files(name)
    return frozenset(found)


def closure(path: Path) -> frozenset[Path]:
    """All files of `pipeline` that a file imports directly or through others, itself included."""
    seen, todo = set(), [path]
    while todo:
        file = todo.pop()
        if file not in seen:
            seen.add(file)
            todo += imports(file)
    return frozenset(seen)


def _files(name: str) -> set[Path]:
    """The module's file and the `__init__.py` of each package that it lies in."""
    parts, files = name.split("."), set()
    for end in range(1, len(parts) + 1):
        base = ROOT.joinpath(*parts[:end])
        for candidate in (base / "__init__.py", base.with_suffix(".py")):
            if candidate.is_file():
                files.add(candidate)
    return files
