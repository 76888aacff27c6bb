"""Checks all of params.yaml at once, before anything runs."""

from pathlib import Path

from pipeline import params, registry
from pipeline.errors import UserError


def run(params_file: Path) -> None:
    """Validates every section against its stage.

    Raises:
        UserError: names every unknown section, unknown or missing key, wrong type and value out of range.
    """
    content = params.read(params_file)
    known = {name: module.Params for name, module in registry.modules("pipeline.stages").items()}
    problems = [
        f"{params_file}: {params.unknown('section', name, sorted(known))}" for name in content if name not in known
    ]
    for name, kind in known.items():
        problems += params.validate(kind, content.get(name, {}), f"{params_file}: {name}")[1]
    if problems:
        raise UserError("\n".join(problems))
