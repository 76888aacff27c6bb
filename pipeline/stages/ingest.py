"""Builds the real data set: every image validated, in one shape, de-duplicated and in one split for good."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline import intake, source_lock, sources
from pipeline.atomic import new_folder, write_json
from pipeline.dataset import Dataset, Row, ShardWriter
from pipeline.dataset.cache import cache_folder
from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.intake import Refused
from pipeline.params import section
from pipeline.progress import bar, log
from pipeline.splits import SplitAssigner, long_tail_quota

SPLITS: tuple[Split, ...] = ("train", "val", "test")
PROTECTION: tuple[Split | None, ...] = (None, "train", "val", "test")


@section
class LongTail:
    """The exponential long-tail profile that `builtin:digits` is brought to."""

    n_max: Annotated[int, Field(ge=1)]
    imbalance_ratio: Annotated[float, Field(ge=1)]


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
    seed: Annotated[int, Field(ge=0)]
    digits: LongTail


def run(lock: Path, train: Path, val: Path, test: Path, quarantine: Path, metrics: Path, params: Params) -> None:
    """Builds exactly what `lock` pins: `train`, `val` and `test` shards, one group of shards a batch.

    Raises:
        UserError: the source does not hold what is pinned, or too little of it is usable.
    """
    pin = intake.open_pin(lock, "ingest", params.source)
    names = intake.class_names(pin)
    total = sum(batch.files for batch in pin.batches)
    intake.refuse_few_classes(params.source, names)
    shape = intake.measure(pin, params.image_size, params.channels, params.fit)
    builder = _Builder(pin, names, shape, params)
    with ExitStack() as outputs:
        splits = zip(SPLITS, (train, val, test), strict=True)
        folders = {split: outputs.enter_context(new_folder(path)) for split, path in splits}
        refused = outputs.enter_context(new_folder(quarantine))
        shown = outputs.enter_context(bar("ingest", total, "image"))
        for number in range(len(pin.batches)):
            builder.add_batch(number, folders, shown)
        intake.refuse_bad_files(params.source, builder.refused, total, params.max_bad_fraction)
        _refuse_untrainable(params.source, names, builder)
        intake.write_quarantine(refused, builder.refused)
    write_json(metrics, _summary(names, shape, builder, total))
    log(f"ingest: {total} files, {len(builder.refused)} refused, {builder.duplicates} duplicates dropped")


class _Builder:
    """Adds batch after batch to the three splits."""

    def __init__(self, pin: source_lock.Pin, names: tuple[str, ...], shape: intake.Shape, params: Params) -> None:
        self._pin, self._names, self._shape = pin, names, shape
        profile = params.digits
        quota = long_tail_quota(names, profile.n_max, profile.imbalance_ratio)
        self._assigner = SplitAssigner(
            seed=params.seed,
            val_fraction=params.val_fraction,
            test_fraction=params.test_fraction,
            train_quota=quota if pin.source == "builtin:digits" else None,
        )
        self._label_of: dict[str, int] = {}
        self.counts: Counter[tuple[Split, int]] = Counter()
        self.refused: list[Refused] = []
        self.duplicates = 0

    def add_batch(self, number: int, folders: dict[Split, Path], shown: Any) -> None:
        """Validates a batch into a spool, then sorts it into the splits."""
        cache_folder().mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix="ingest-", dir=cache_folder()) as spool:
            hints: dict[str, Split | None] = {}
            with ShardWriter(Path(spool), self._names) as writer:
                for row in self._usable(number, hints, shown):
                    writer.add(row)
            self._write(number, Dataset.open(Path(spool)), self._assign(hints), folders)

    def _usable(self, number: int, hints: dict[str, Split | None], shown: Any) -> Iterator[Row]:
        """Yields the batch's new pictures and notes in `hints` the split that the source puts each in.

        Of equal pictures the first is kept; within a batch it goes to the most protected of their splits.
        """
        labels = {name: label for label, name in enumerate(self._names)}
        files = source_lock.pinned(self._pin, number, sources.files(self._pin.source))
        for file, row in intake.accept(files, self._shape, labels):
            shown.update()
            if isinstance(row, Refused):
                self.refused.append(row)
                continue
            known = self._label_of.get(row.pixel_hash)
            if known is None:
                self._label_of[row.pixel_hash] = row.label
                hints[row.pixel_hash] = file.split
                yield row
            elif known != row.label:
                reason = f"same picture as one of class {self._names[known]!r}"
                self.refused.append(intake.refuse(file, source_lock.read_bytes(file), reason))
            else:
                self.duplicates += 1
                if row.pixel_hash in hints:
                    hints[row.pixel_hash] = max(hints[row.pixel_hash], file.split, key=PROTECTION.index)

    def _assign(self, hints: dict[str, Split | None]) -> dict[str, Split]:
        self._assigner.reserve(set(hints.values()))
        splits: dict[str, Split] = {key: split for key, split in hints.items() if split in ("val", "test")}
        for label, name in enumerate(self._names):
            free = [key for key in hints if key not in splits and self._label_of[key] == label]
            splits |= self._assigner.assign(name, free)
        return splits

    def _write(self, number: int, spool: Dataset, splits: dict[str, Split], folders: dict[Split, Path]) -> None:
        with ExitStack() as stack:
            writers = {
                split: stack.enter_context(ShardWriter(folder, self._names, prefix=f"{number:05d}"))
                for split, folder in folders.items()
            }
            for row in spool.rows():
                split = splits[row.pixel_hash]
                writers[split].add(replace(row, split=split))
                self.counts[split, row.label] += 1


def _refuse_untrainable(source: str, names: tuple[str, ...], builder: _Builder) -> None:
    for label, name in enumerate(names):
        if not builder.counts["train", label]:
            of_class = (item for item in builder.refused if f"/{name}/" in f"/{item.name}")
            why = next((f"; {item.name}: {item.reason}" for item in of_class), "")
            raise UserError(f"{source}: class {name!r} has no usable training image{why}")


def _summary(names: tuple[str, ...], shape: intake.Shape, builder: _Builder, total: int) -> dict[str, Any]:
    return {
        "files": total,
        "refused": len(builder.refused),
        "duplicates": builder.duplicates,
        "image_size": shape.size,
        "channels": shape.channels,
        "images": {split: {name: builder.counts[split, label] for label, name in enumerate(names)} for split in SPLITS},
    }
