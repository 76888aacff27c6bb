"""Proof that test images are real, and that nothing that was trained on, drawn from or chosen by has seen them."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.dataset import Dataset
from pipeline.errors import UserError

BLOCK_ROWS = 10_000
KNOWN_BY = ("id", "pixel_hash", "parent_id")


def refuse_seen(test: Dataset, others: Sequence[Dataset]) -> None:
    """Refuses test images that are not real, or that are in another data set or are what an image there was made of.

    Images are known by their ids and by the hashes of their pixels; only those of the test images are held.

    Raises:
        UserError: names the first such image and says how many there are.
    """
    where = ", ".join(map(str, test.folders))
    path_of: dict[str, str] = {}
    for row in _rows(test, ["id", "pixel_hash", "origin", "image.path"]):
        path = row["image"]["path"]
        if row["origin"] != "real":
            raise UserError(
                f"{where}: {path} is no real image but {row['origin']}; arms are judged on real images only"
            )
        path_of |= {row["id"]: path, row["pixel_hash"]: path}
    for other in others:
        rows = _rows(other, list(KNOWN_BY))
        seen = [path_of[key] for row in rows if (key := next((k for k in row.values() if k in path_of), None))]
        if seen:
            raise UserError(
                f"{where}: {len(seen)} images of {', '.join(map(str, other.folders))} are test images or made of them "
                f"(first: {seen[0]}); nothing is judged on what was trained on: take them out of one of the two sources"
            )


def ids_digest(dataset: Dataset) -> str:
    """sha256 over the ids of all rows in sorted order: equal for equal images, however grouped and ordered."""
    ids = sorted(row["id"] for row in _rows(dataset, ["id"]))
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def source_names(dataset: Dataset) -> list[str]:
    """What each image was at its source, whatever it was made into: its name and size there."""
    rows = _rows(dataset, ["image.path", "source_width", "source_height"])
    return [f"{row['image']['path']} {row['source_width']} {row['source_height']}" for row in rows]


def _rows(dataset: Dataset, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in dataset.batches(columns, BLOCK_ROWS):
        yield from batch.to_pylist()
