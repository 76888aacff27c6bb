"""Writes the user's source into params.yaml, comments kept."""

from pathlib import Path

from pipeline import params, sources
from pipeline.errors import UserError
from pipeline.progress import log

DOMAIN_OF = {"builtin:digits": "builtin:glyphs"}


def run(source: str, params_file: Path, *, source_domain: str | None = None) -> None:
    """Sets `ingest.source` and `ingest_source.source`.

    Args:
        source_domain: images to transfer from; by default the one that fits a built-in source, else none.

    Raises:
        UserError: a source does not exist or is of no known kind, or params.yaml has no place for it.
    """
    domain = source_domain or DOMAIN_OF.get(source, "none")
    for given in (source, domain):
        sources.find(given)
    sections = params.read(params_file)
    wanted = {"ingest": source, "ingest_source": domain}
    for stage in wanted:
        if not isinstance(sections.get(stage), dict) or "source" not in sections[stage]:
            raise UserError(f"{params_file}: has no {stage}.source to set; `git diff` shows what became of it")
    if all(sections[stage]["source"] == value for stage, value in wanted.items()):
        return
    with params.edited(params_file) as content:
        for stage, value in wanted.items():
            content[stage]["source"] = value
    log(f"configure: {params_file}: ingest.source = {source}, ingest_source.source = {domain}")
