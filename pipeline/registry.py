"""A folder as a registry: the modules in a package, keyed by their file names."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from pydantic import AfterValidator, ValidationInfo
from pydantic_core import PydanticCustomError

from pipeline.errors import UserError
from pipeline.params import UNKNOWN, build, unknown, validate


def names(package: str) -> tuple[str, ...]:
    """Names of the plug-ins in a package: its modules, except those that start with an underscore."""
    path = importlib.import_module(package).__path__
    return tuple(sorted(info.name for info in pkgutil.iter_modules(path) if not info.name.startswith("_")))


def modules(package: str) -> dict[str, ModuleType]:
    """All plug-ins of a package, imported."""
    return {name: importlib.import_module(f"{package}.{name}") for name in names(package)}


def get(package: str, name: str) -> ModuleType:
    """One plug-in.

    Raises:
        UserError: there is none of that name.
    """
    if name not in names(package):
        raise UserError(unknown(importlib.import_module(package).KIND, name, names(package)))
    return importlib.import_module(f"{package}.{name}")


def chosen(package: str, name: str, options: dict[str, Any], where: str) -> tuple[ModuleType, Any]:
    """One plug-in and its `Params`, made of its options.

    Args:
        where: what the options of all plug-ins stand under, such as "params.yaml: train_source.backbones".

    Raises:
        UserError: there is none of that name, or its options are wrong.
    """
    module = get(package, name)
    return module, build(module.Params, options, f"{where}.{name}")


def check_options(package: str, name: str, options: dict[str, dict[str, Any]], where: str) -> None:
    """Checks the chosen plug-in's name and the options of all plug-ins named.

    Raises:
        UserError: names every problem.
    """
    problems = []
    try:
        get(package, name)
    except UserError as error:
        problems.append(f"{where}: {error}")
    else:
        if name not in options:
            problems.append(f"{where}: has no options for {name!r}; expected a section of that name")
    problems += option_problems(package, options, where)
    if problems:
        raise UserError("\n".join(problems))


def option_problems(package: str, options: dict[str, Any], where: str, part: str = "Params") -> list[str]:
    """What is wrong with the options of plug-ins, a line each, against the class `part` of each one's module."""
    problems = []
    for key, values in options.items():
        try:
            module = get(package, key)
        except UserError as error:
            problems.append(f"{where}.{key}: {error}")
        else:
            problems += validate(getattr(module, part), values, f"{where}.{key}")[1]
    return problems


def known(package: str) -> AfterValidator:
    """What a field of `Params` that names a plug-in is annotated with."""

    def check(name: str) -> str:
        try:
            get(package, name)
        except UserError as error:
            raise PydanticCustomError(UNKNOWN, "{told}", {"told": str(error)}) from None
        return name

    return AfterValidator(check)


def checked_options(package: str, chosen: str | None, where: str) -> AfterValidator:
    """What a field of `Params` that holds the options of plug-ins is annotated with.

    Args:
        chosen: the field before it that names the plug-in used; None where any plug-in may go without options.
        where: what problems are told of, such as "params.yaml: train_source.backbones".
    """

    def check(options: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        if chosen is not None:
            check_options(package, info.data.get(chosen, ""), options, where)
        elif problems := option_problems(package, options, where):
            raise UserError("\n".join(problems))
        return options

    return AfterValidator(check)
