"""`python -m pipeline STAGE …`: runs one stage or command; its options are derived from the signature of its `run`."""

import argparse
import ast
import importlib
import importlib.util
import inspect
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from pipeline import params, registry
from pipeline.errors import UserError

PACKAGES = ("pipeline.stages", "pipeline.commands")


def main(arguments: list[str]) -> int:
    """Runs one stage or command.

    Returns:
        The exit status: 0, 2 for a user's mistake, 75 for what may pass (one line each on standard error), 130 when
        interrupted.
    """
    known = {name: package for package in PACKAGES for name in registry.names(package)}
    name = arguments[0] if arguments else "--help"
    if name in {"-h", "--help"}:
        print(_overview(known))
        return 0
    try:
        call(_find(name, known), name, arguments[1:])
    except UserError as error:
        return _fail(str(error), error.status)
    except OSError as error:
        if error.strerror is None:
            raise
        return _fail(f"{error.filename or name}: {error.strerror}")
    except KeyboardInterrupt:
        print(f"{name}: interrupted; nothing half-written was left", file=sys.stderr)
        return 130
    return 0


def _find(name: str, known: dict[str, str]) -> types.ModuleType:
    if name not in known:
        raise UserError(params.unknown("stage", name, sorted(known)))
    return importlib.import_module(f"{known[name]}.{name}")


def _fail(message: str, status: int = UserError.status) -> int:
    print("\n".join(f"error: {line}" for line in message.splitlines()), file=sys.stderr)
    return status


def call(module: types.ModuleType, name: str, arguments: list[str]) -> None:
    """Calls `module.run` with options from the command line and `params` from its section of params.yaml."""
    parser = _parser(module.run, name)
    given = vars(parser.parse_args(arguments))
    params_file = given.pop("params_file")
    hints = get_type_hints(module.run)
    if "params" in hints:
        given["params"] = params.load(hints["params"], params_file, name)
    if "params_file" in hints:
        given["params_file"] = params_file
    module.run(**given)


def _parser(run: Callable[..., None], name: str) -> argparse.ArgumentParser:
    summary = (run.__doc__ or "").strip().splitlines()[0]
    parser = argparse.ArgumentParser(prog=f"python -m pipeline {name}", description=summary, allow_abbrev=False)
    hints = get_type_hints(run)
    for parameter in inspect.signature(run).parameters.values():
        if parameter.name not in ("params", "params_file"):
            _add_option(parser, parameter, hints[parameter.name])
    parser.add_argument("--params-file", type=Path, default=Path("params.yaml"), help="default: params.yaml")
    return parser


def _add_option(parser: argparse.ArgumentParser, parameter: inspect.Parameter, hint: Any) -> None:
    required = parameter.default is inspect.Parameter.empty
    flag = "--" + parameter.name.replace("_", "-")
    if required and hint is str:
        parser.add_argument(parameter.name)
        return
    if required and hint == tuple[str, ...]:
        parser.add_argument(parameter.name, nargs="+", action=_AsTuple)
        return
    if hint is bool:
        parser.add_argument(flag, action="store_true")
        return
    is_optional = get_origin(hint) is types.UnionType
    plain = next(kind for kind in get_args(hint) if kind is not type(None)) if is_optional else hint
    many = get_origin(plain) is tuple
    kind = get_args(plain)[0] if many else plain
    parser.add_argument(
        flag,
        type=kind,
        nargs="+" if many else None,
        action=_AsTuple if many else "store",
        required=required,
        default=None if required else parameter.default,
        metavar=kind.__name__.upper(),
    )


class _AsTuple(argparse.Action):
    """Stores several values as a tuple."""

    def __call__(self, _: object, namespace: argparse.Namespace, values: Any, __: str | None = None) -> None:
        setattr(namespace, self.dest, tuple(values))


def _overview(known: dict[str, str]) -> str:
    lines = ["usage: python -m pipeline STAGE --OPTION …   (STAGE --help lists its options)", ""]
    for package in PACKAGES:
        lines.append(f"{package.rpartition('.')[2]}:")
        for name in (name for name, home in known.items() if home == package):
            doc = _first_line(package, name)
            lines.append(f"  {name:16} {doc}")
    return "\n".join(lines)


def _first_line(package: str, name: str) -> str:
    """First line of a module's docstring, without importing it (some take seconds)."""
    spec = importlib.util.find_spec(f"{package}.{name}")
    assert spec is not None
    assert spec.origin is not None
    doc = ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or ""
    return doc.splitlines()[0]


if __name__ == "__main__":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    # Threads that spin while they wait make training 3 to 7 times slower as soon as anything else runs on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(main(sys.argv[1:]))
