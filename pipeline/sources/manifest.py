"""A list of images as CSV, TSV, JSON lines or Parquet: path and label, and if wanted split, group and box.

Paths are relative to the list's folder. A box is x, y, width and height in pixels, in one column or in four (or xmin,
ymin, xmax and ymax). Columns go by any of their usual names: see `_columns.NAMES`.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.sources import SourceFile, _listing
from pipeline.sources._parquet import holds_images
from pipeline.sources._tables import SUFFIXES


def accepts(source: str) -> bool:
    """True for a file that is named .csv, .tsv, .jsonl, .ndjson or .parquet; a Parquet with images in it is none."""
    path = Path(source)
    return path.suffix.lower() in SUFFIXES and path.is_file() and not holds_images(path)


def files(source: str) -> Iterator[SourceFile]:
    """The files listed, in the list's order; one that is missing can't be read.

    Raises:
        UserError: a column is missing, or a row is wrong; says which.
    """
    yield from _listing.files(Path(source), "path")
