"""Builds the real data set: every image validated, in one shape, de-duplicated and in one split for good."""

from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline import intake
from pipeline.atomic import new_folder, write_json
from pipeline.dataset import ShardWriter
from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.images import SHAPE_FILE, Shape
from pipeline.intake import Refused
from pipeline.ledger import DROPPED, SPLITS, Alike, Ledger, Tally
from pipeline.params import section
from pipeline.progress import log
from pipeline.splits import SplitAssigner, long_tail_quota
from pipeline.spool import Spool, class_names, forget_unused, obtain_all, settle_shape


@section
class LongTail:
    """The exponential long-tail profile that `builtin:digits` is brought to."""

    n_max: Annotated[int, Field(ge=1)]
    imbalance_ratio: Annotated[float, Field(ge=1)]


@section
class NearDuplicates:
    """When two images count as one picture; a distance of -1 looks for none."""

    max_distance: Annotated[int, Field(ge=-1, le=10)]
    min_correlation: Annotated[float, Field(ge=0, le=1)]


@section
class Params:
    """Section `ingest` of params.yaml."""

    source: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Field(ge=4, le=256)] | Literal["auto"]
    channels: Literal[1, 3, "auto"]
    fit: Literal["crop", "pad"]
    val_fraction: Annotated[float, Field(ge=0, lt=0.5)]
    test_fraction: Annotated[float, Field(ge=0, lt=0.5)]
    max_bad_fraction: Annotated[float, Field(ge=0, le=1)]
    near_duplicates: NearDuplicates
    leaks: Literal["refuse", "stop", "keep"]
    seed: Annotated[int, Field(ge=0)]
    digits: LongTail


def run(lock: Path, train: Path, val: Path, test: Path, quarantine: Path, metrics: Path, params: Params) -> None:
    """Builds exactly what `lock` pins: `train`, `val` and `test` shards, one group of shards a batch.

    Raises:
        UserError: the source does not hold what is pinned, or too little of it is usable.
    """
    pin = intake.open_pin(lock, "ingest", params.source)
    total = sum(batch.files for batch in pin.batches)
    shape = settle_shape(pin, params.image_size, params.channels, params.fit)
    spools = obtain_all(pin, shape, "ingest")
    del pin  # of each file it holds 13 bytes, which nobody asks for any more
    names = class_names(spools)
    intake.refuse_few_classes(params.source, names)
    alike = Alike(params.near_duplicates.max_distance, params.near_duplicates.min_correlation)
    ledger = Ledger(_assigner(params, names), alike, refuse_leaks=params.leaks != "keep")
    counts: Counter[tuple[Split, int]] = Counter()
    with ExitStack() as outputs:
        splits = zip(SPLITS, (train, val, test), strict=True)
        folders = {split: outputs.enter_context(new_folder(path)) for split, path in splits}
        quarantined = outputs.enter_context(new_folder(quarantine))
        for number, spool in enumerate(spools):
            placed = ledger.place(spool)
            _stop_at_leaks(params, ledger.tally)
            counts += _write(number, spool, placed, names, folders)
        refused = [*(item for spool in spools for item in spool.refused), *ledger.tally.refused]
        intake.refuse_bad_files(params.source, refused, total, params.max_bad_fraction)
        _refuse_untrainable(params.source, names, counts, refused)
        intake.write_quarantine(quarantined, refused)
        write_json(folders["train"] / SHAPE_FILE, asdict(shape))
    forget_unused()
    write_json(metrics, _summary(names, shape, counts, ledger.tally, total, len(refused)))
    tally = ledger.tally
    log(
        f"ingest: {total} files, {len(refused)} refused, {tally.duplicates} duplicates dropped, "
        f"{tally.near_duplicates} near-duplicates; {tally.leaks} training images were (like) held-out ones"
    )


def _assigner(params: Params, names: tuple[str, ...]) -> SplitAssigner:
    quota = long_tail_quota(names, params.digits.n_max, params.digits.imbalance_ratio)
    return SplitAssigner(
        seed=params.seed,
        val_fraction=params.val_fraction,
        test_fraction=params.test_fraction,
        train_quota=quota if params.source == "builtin:digits" else None,
    )


def _stop_at_leaks(params: Params, tally: Tally) -> None:
    if params.leaks == "stop" and tally.leaks:
        first = f" (first: {tally.refused[0].name}: {tally.refused[0].reason})" if tally.refused else ""
        raise UserError(
            f"{params.source}: {tally.leaks} training images are held out too, or look like or are of one group with "
            f"one that is{first}; mend the source, or let ingest.leaks in params.yaml be refuse or keep"
        )


def _write(
    number: int, spool: Spool, placed: npt.NDArray[np.int8], names: tuple[str, ...], folders: dict[Split, Path]
) -> Counter[tuple[Split, int]]:
    """Sorts a batch's rows into the shards of the splits; returns the images of each split and class."""
    counts: Counter[tuple[Split, int]] = Counter()
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(ShardWriter(folder, names, prefix=f"{number:05d}"))
            for split, folder in folders.items()
        }
        for row, code in zip(spool.rows(names), placed, strict=True):
            if code != DROPPED:
                split = SPLITS[code]
                writers[split].add(replace(row, split=split))
                counts[split, row.label] += 1
    return counts


def _refuse_untrainable(
    source: str, names: tuple[str, ...], counts: Counter[tuple[Split, int]], refused: list[Refused]
) -> None:
    for label, name in enumerate(names):
        if not counts["train", label]:
            of_class = (item for item in refused if f"/{name}/" in f"/{item.name}")
            why = next((f"; {item.name}: {item.reason}" for item in of_class), "")
            raise UserError(f"{source}: class {name!r} has no usable training image{why}")


def _summary(
    names: tuple[str, ...], shape: Shape, counts: Counter[tuple[Split, int]], tally: Tally, total: int, refused: int
) -> dict[str, Any]:
    return {
        "files": total,
        "refused": refused,
        "duplicates": tally.duplicates,
        "near_duplicates": tally.near_duplicates,
        "leaks": tally.leaks,
        "image_size": shape.size,
        "channels": shape.channels,
        "images": {split: {name: counts[split, label] for label, name in enumerate(names)} for split in SPLITS},
    }
