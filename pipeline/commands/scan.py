"""Lists the sources and writes what they hold now to source.json, the lock file of the data."""

from pathlib import Path

from pipeline import params, source_lock, sources
from pipeline.atomic import write_json
from pipeline.errors import UserError
from pipeline.progress import log, track
from pipeline.source_lock import FileDigest, Pin

STAGES = ("ingest", "ingest_source")


def run(params_file: Path, lock: Path = Path("source.json"), *, renew: bool = False) -> None:
    """Appends new files as a batch; says what is new, changed and gone.

    Args:
        renew: pin what is there now as one batch, forgetting earlier batches.

    Raises:
        UserError: a source is missing, or files that are pinned have changed or gone.
    """
    content = params.read(params_file)
    then = source_lock.read(lock) if lock.exists() and not renew else {}
    now = {}
    for stage in STAGES:
        section = content.get(stage)
        source = section.get("source") if isinstance(section, dict) else None
        if not isinstance(source, str):
            raise UserError(f"{params_file}: {stage}.source must name a source, got {source!r}")
        before = then.get(stage)
        now[stage] = _scan(stage, source, before if before and before.source == source else Pin(source, (), ()))
    if now != then:
        write_json(lock, source_lock.to_json(now))


def _scan(stage: str, source: str, before: Pin) -> Pin:
    found = [source_lock.digest_of(file) for file in track(sources.files(source), f"scan {source}", unit="file")]
    new = [file for file in found if before.batch_of(file.name) is None]
    changed, gone = _differences(before, found)
    if changed or gone:
        named = f" (first: {changed[0]})" if changed else ""
        raise UserError(
            f"{source}: {len(changed)} pinned files changed{named} and {gone} are gone; restore them, "
            "or pin what is there now with `python -m pipeline scan --renew`"
        )
    if not new:
        log(f"scan: {stage}: {source}: {len(found)} files, nothing new")
        return before
    batch = source_lock.make_batch(new)
    log(f"scan: {stage}: {source}: {len(new)} new files ({batch.bytes} bytes) in batch {len(before.batches)}")
    return Pin(source, (*before.batches, batch), (*before.members, source_lock.make_members(new)))


def _differences(before: Pin, found: list[FileDigest]) -> tuple[list[str], int]:
    """Names of pinned files whose content changed, and the number of those that are gone."""
    pinned = {name: content for members in before.members for name, content in members.items()}
    now = source_lock.make_members(found)
    changed = [
        file.name for file in found if (key := source_lock.name_hash(file.name)) in pinned and pinned[key] != now[key]
    ]
    return changed, len(pinned.keys() - now.keys())
