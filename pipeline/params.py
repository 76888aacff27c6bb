"""Reads params.yaml: one section a stage, checked against the stage's `Params`, all problems told at once."""

import difflib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from pipeline.atomic import new_file
from pipeline.errors import UserError

NULL = "tag:yaml.org,2002:null"
UNKNOWN = "unknown_name"  # kind of a problem whose message only lacks its place
T = TypeVar("T")

section: Callable[[type[T]], type[T]] = pydantic_dataclass(  # type: ignore[assignment]
    frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
)
"""Decorator of a `Params` class: frozen, keyword-only, unknown keys and wrong types refused."""


def read(path: Path) -> dict[str, Any]:
    """The whole file as a dictionary of sections; YAML 1.2, as DVC reads it, where 1e-3 is a number.

    Raises:
        UserError: the file is missing, is no YAML, or is no mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); it holds one section of numbers a stage") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must hold one section a stage, got {type(content).__name__}")
    return content


@contextmanager
def edited(path: Path) -> Iterator[Any]:
    """Yields the file's content to be changed in place; it is written back whole, its comments kept."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.representer.add_representer(type(None), lambda form, _: form.represent_scalar(NULL, "null"))
    content = yaml.load(path)
    yield content
    with new_file(path) as temporary:
        yaml.dump(content, temporary)


def build(kind: type[T], values: Any, where: str) -> T:
    """Makes a `kind` of `values`.

    Raises:
        UserError: a key is unknown or missing, a type is wrong or a value out of range; names every problem.
    """
    value, problems = validate(kind, values, where)
    if problems:
        raise UserError("\n".join(problems))
    assert value is not None
    return value


def validate(kind: type[T], values: Any, where: str) -> tuple[T | None, list[str]]:
    """Makes a `kind` of `values`, or says in a line each what is wrong with them."""
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values, default=str), strict=True), []
    except ValidationError as error:
        known = list(getattr(kind, "__dataclass_fields__", ()))
        told: dict[str, list[Any]] = {}
        for problem in error.errors(include_url=False):
            told.setdefault(".".join([where, *_place(problem["loc"], values)]), []).append(problem)
        return None, [_line(place, problems, known) for place, problems in told.items()]


def stored(kind: type[T], path: Path, stage: str) -> T:
    """Reads a `kind` that a stage stored as JSON.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path}: is not there; its images were not made by the stage {stage}") from None
    except ValueError as error:
        raise UserError(f"{path}: is no JSON ({error})") from None
    return build(kind, content, str(path))


def load(kind: type[T], path: Path, name: str) -> T:
    """The section `name` of the file.

    Raises:
        UserError: as `read` and `build`.
    """
    return build(kind, read(path).get(name, {}), f"{path}: {name}")


def did_you_mean(word: object, known: Iterable[str]) -> str:
    """A hint at the nearest known word, or nothing."""
    near = difflib.get_close_matches(str(word), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown(what: str, name: object, known: Iterable[str]) -> str:
    """That there is no such thing, the one that was perhaps meant, and all that there are."""
    names = list(known)
    hint = did_you_mean(name, names)
    return f"unknown {what} {name!r}{hint}{' Known' if hint else '; known'}: {', '.join(names)}"


def _place(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """The keys that lead to a problem; what else pydantic puts between them (the kinds of a union) is left out."""
    keys = []
    for part in loc:
        if isinstance(values, dict) and not str(part).startswith("function-"):
            keys.append(str(part))
            values = values.get(part)
        elif isinstance(values, list) and isinstance(part, int):
            keys.append(str(part))
            values = values[part]
    return keys


def _line(place: str, problems: list[Any], known: list[str]) -> str:
    """One line for all that pydantic says about one place; of a union it says why each kind does not fit."""
    first = problems[0]
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place}: unknown key{did_you_mean(str(first['loc'][-1]), known if len(first['loc']) == 1 else ())}"
    if first["type"] in ("missing", "missing_keyword_only_argument"):
        return f"{place}: is missing"
    if first["type"] == UNKNOWN:
        return f"{place}: {first['msg']}"
    if first["type"] == "value_error":
        return str(first["ctx"]["error"])
    messages = [problem["msg"].removeprefix("Input ").removeprefix("should be ") for problem in problems]
    return f"{place} should be {' or '.join(dict.fromkeys(messages))}, got {first['input']!r}"
