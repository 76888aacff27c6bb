"""WebDataset shards (https://github.com/webdataset/webdataset): SPLIT-000000.tar, … and `classes.txt`, a class a line.

A sample is ID.png, ID.cls (the number of its class) and ID.json with what is told of it. Equal data sets give equal
bytes.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from pipeline.dataset import Row
from pipeline.errors import UserError
from pipeline.exports import Keys, told

SHARD_BYTES = 256 * 2**20


def write(rows: Iterator[Row], class_names: tuple[str, ...], folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
    """Writes the shards of each split.

    Raises:
        UserError: a class's name does not fit in a line.
    """
    for name in class_names:
        if not name.isprintable() or name != name.strip() or not name:
            raise UserError(f"class {name!r} cannot be a line of classes.txt; export as hf_parquet or rename the class")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in class_names), encoding="utf-8", newline="\n")
    keys = Keys()
    with _Shards(folder, shard_bytes) as shards:
        for row in rows:
            about = {"class_name": class_names[row.label]} | told(row)
            shards.add(
                row.split,
                keys.of(row, row.split),
                {
                    "cls": str(row.label).encode(),
                    "json": json.dumps(about, ensure_ascii=False, sort_keys=True).encode(),
                    "png": row.image,
                },
            )


class _Shards:
    """Open shards, one a split."""

    def __init__(self, folder: Path, shard_bytes: int) -> None:
        self._folder, self._shard_bytes = folder, shard_bytes
        self._open: dict[str, tarfile.TarFile] = {}
        self._count: dict[str, int] = {}

    def __enter__(self) -> "_Shards":
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        for archive in self._open.values():
            archive.close()

    def add(self, split: str, key: str, files: dict[str, bytes]) -> None:
        """Appends a sample."""
        archive = self._open.get(split)
        if archive is None or archive.offset >= self._shard_bytes:
            archive = self._next(split)
        for ending, data in files.items():
            member = tarfile.TarInfo(f"{key}.{ending}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))

    def _next(self, split: str) -> tarfile.TarFile:
        if split in self._open:
            self._open[split].close()
        number = self._count[split] = self._count.get(split, -1) + 1
        path = self._folder / f"{split}-{number:06d}.tar"
        self._open[split] = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115 - closed by __exit__
        return self._open[split]
