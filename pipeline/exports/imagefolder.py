"""An image file a row, SPLIT/CLASS/ID.png, and SPLIT/metadata.csv with what is told of each.

What Hugging Face's `imagefolder` and any reader of folders open. Where a class's name can be no folder's, the offending
signs become %XX, as in URLs (RFC 3986, section 2.1); `metadata.csv` holds the name itself.
"""

import csv
import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.dataset import Row
from pipeline.exports import Keys, told

MAX_NAME_BYTES = 200
_FORBIDDEN = frozenset('<>:"/\\|?*%')  # what Windows refuses, and the sign that marks an encoded one
_DEVICES = frozenset({"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))})


def write(rows: Iterator[Row], class_names: tuple[str, ...], folder: Path) -> None:
    """Writes the images and a `metadata.csv` a split."""
    folders = [folder_name(name) for name in class_names]
    keys, tables = Keys(), dict[str, Any]()
    with ExitStack() as stack:
        for row in rows:
            place = f"{row.split}/{folders[row.label]}"
            values = {"file_name": f"{folders[row.label]}/{keys.of(row, place)}.png", "label": class_names[row.label]}
            values |= told(row)  # type: ignore[arg-type]
            path = folder / row.split / values["file_name"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(row.image)
            if row.split not in tables:
                file = stack.enter_context(
                    (folder / row.split / "metadata.csv").open("w", encoding="utf-8", newline="")
                )
                tables[row.split] = csv.DictWriter(file, list(values), lineterminator="\n")
                tables[row.split].writeheader()
            tables[row.split].writerow(values)


def folder_name(name: str) -> str:
    """A folder's name for a class, different for different classes, valid on Linux, macOS and Windows."""
    signs = [quote(sign, safe="") if sign in _FORBIDDEN or not sign.isprintable() else sign for sign in name]
    for at in (0, -1):
        if signs and (signs[at] == " " or signs[at] == "."):
            signs[at] = f"%{ord(signs[at]):02X}"
    encoded = "".join(signs)
    if encoded.partition(".")[0].upper() in _DEVICES:
        encoded = f"%{ord(encoded[0]):02X}{encoded[1:]}"
    if len(encoded.encode()) > MAX_NAME_BYTES:
        cut = encoded.encode()[: MAX_NAME_BYTES - 9].decode(errors="ignore")
        return f"{cut}%{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return encoded or "%"
