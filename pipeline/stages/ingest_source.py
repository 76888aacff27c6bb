"""Builds the source domain: images of another task whose knowledge is transferred; the same schema as the real data."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from pipeline import intake
from pipeline.atomic import new_folder, write_json
from pipeline.dataset import ShardWriter
from pipeline.params import section
from pipeline.progress import log
from pipeline.spool import class_names, obtain_all, settle_shape


@section
class Params:
    """Section `ingest_source` of params.yaml."""

    source: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Field(ge=4, le=256)] | Literal["auto"]
    channels: Literal[1, 3, "auto"]
    fit: Literal["crop", "pad"]
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]


def run(lock: Path, out: Path, metrics: Path, params: Params) -> None:
    """Builds what `lock` pins into `out`, all of it training images; an empty data set where the source is `none`.

    Raises:
        UserError: the source does not hold what is pinned, or too little of it is usable.
    """
    pin = intake.open_pin(lock, "ingest_source", params.source)
    total = sum(batch.files for batch in pin.batches)
    shape = settle_shape(pin, params.image_size, params.channels, params.fit)
    spools = obtain_all(pin, shape, "ingest_source")
    del pin  # of each file it holds 13 bytes, which nobody asks for any more
    names = class_names(spools)
    if params.source != "none":
        intake.refuse_few_classes(params.source, names)
    refused, seen = [item for spool in spools for item in spool.refused], set()
    with new_folder(out) as folder:
        for number, spool in enumerate(spools):
            with ShardWriter(folder, names, prefix=f"{number:05d}") as writer:
                for row in spool.rows(names):
                    if row.pixel_hash not in seen:
                        seen.add(row.pixel_hash)
                        writer.add(row)
        if not spools:
            with ShardWriter(folder, names):
                pass
        intake.refuse_bad_files(params.source, refused, total, params.max_bad_fraction)
    write_json(metrics, {"files": total, "refused": len(refused), "images": len(seen), "classes": len(names)})
    log(f"ingest_source: {len(seen)} images of {len(names)} classes from {params.source}")
