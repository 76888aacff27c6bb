"""Lists the sources and writes what they hold now to source.json, the lock file of the data."""

from pathlib import Path

import numpy as np

from pipeline import params, source_lock, sources
from pipeline.atomic import write_json
from pipeline.errors import UserError
from pipeline.progress import log, track
from pipeline.source_lock import BatchMaker, Members, Pin

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
        is_same = before is not None and before.source == source
        now[stage] = _scan(stage, before if before and is_same else Pin(source, (), Members.join([])))
    if now != then:
        write_json(lock, source_lock.to_json(now))


def _scan(stage: str, before: Pin) -> Pin:
    """The pin with what is new as one more batch; of a file no more is kept than the beginnings of its hashes."""
    old, source, records = before.members, before.source, bytearray()
    seen = np.zeros(len(old.names), bool)
    changed, first = 0, ""
    with BatchMaker() as new:
        for file in track(sources.files(source), f"scan {source}", unit="file"):
            found = source_lock.digest_of(file)
            place, record = old.place(file.name), source_lock.record_of(found)
            if place.start == place.stop:
                new.add(found)
                records += record
            elif not old.holds(place, record):
                changed, first = changed + 1, first or file.name
            seen[place] = True
        _refuse_differences(source, changed, first, gone=int((~seen).sum()))
        if not records:
            log(f"scan: {stage}: {source}: {len(seen)} files, nothing new")
            return before
        batch = new.batch()
    log(f"scan: {stage}: {source}: {batch.files} new files ({batch.bytes} bytes) in batch {len(before.batches)}")
    np.frombuffer(records, f"S{len(record)}").sort()
    earlier = (old.of_batch(number) for number in range(len(before.batches)))
    return Pin(source, (*before.batches, batch), Members.join([*earlier, records]))


def _refuse_differences(source: str, changed: int, first: str, gone: int) -> None:
    if changed or gone:
        named = f" (first: {first})" if changed else ""
        raise UserError(
            f"{source}: {changed} pinned files changed{named} and {gone} are gone; restore them, "
            "or pin what is there now with `python -m pipeline scan --renew`"
        )
