"""What the columns of a list of images mean, by any of their common names, and what a row says of its image."""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.params import did_you_mean
from pipeline.sources.imagefolder import SPLIT_FOLDERS

Box = tuple[int, int, int, int]
MAX_LABEL_CHARS = 200
_FAR = 2**30  # no image is so large
# The first name of each list is the one that wins where a table has several of them.
NAMES: dict[str, tuple[str, ...]] = {
    "path": (
        "path",
        "file_name",
        "file",
        "filename",
        "filepath",
        "file_path",
        "image",
        "image_path",
        "img",
        "img_path",
    ),
    "label": ("label", "labels", "class", "class_name", "label_name", "category", "category_name", "target"),
    "split": ("split", "subset", "set", "partition"),
    "group": ("group", "group_id", "patient", "patient_id", "subject", "subject_id", "camera", "camera_id", "series"),
    "box": ("box", "bbox", "bounding_box"),
    "origin": ("origin",),
}
MADE = ("augmented", "synthetic")
# left, top, and then width and height, or the right and lower edges
SIZED: tuple[tuple[str, str, str, str], ...] = (
    ("x", "y", "w", "h"),
    ("x", "y", "width", "height"),
    ("bbox_x", "bbox_y", "bbox_w", "bbox_h"),
    ("bbox_x", "bbox_y", "bbox_width", "bbox_height"),
    ("left", "top", "width", "height"),
)
EDGED: tuple[tuple[str, str, str, str], ...] = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
_KNOWN = {name for names in (*NAMES.values(), *SIZED, *EDGED) for name in names}


class Roles(NamedTuple):
    """Which columns of a table say what; None for what none says."""

    path: str | None
    label: str | None
    split: str | None
    group: str | None
    box: str | None
    origin: str | None
    edges: tuple[str, str, str, str] | None
    edges_are_sizes: bool


class Facts(NamedTuple):
    """What a row says of its image."""

    label: str
    split: Split | None
    group: str | None
    box: Box | None


def is_known(column: str) -> bool:
    """Whether a column of this name says something about an image."""
    return _plain(column) in _KNOWN


@lru_cache(256)
def roles(
    where: str, columns: tuple[str, ...], needs: tuple[str, ...] = ("path", "label"), path_name: str = "path"
) -> Roles:
    """Finds what each column says.

    Args:
        where: the table's name, for errors.
        needs: which roles there must be a column for.
        path_name: the name that wins if several columns could be the path.

    Raises:
        UserError: no column for what is needed, several for one role, or a box lacks one of its four columns.
    """
    plain = {_plain(column): column for column in reversed(columns)}
    found = {role: _column(where, role, plain, path_name if role == "path" else NAMES[role][0]) for role in NAMES}
    for role in needs:
        if found[role] is None:
            near = "".join(dict.fromkeys(did_you_mean(column, NAMES[role]) for column in plain))
            raise UserError(
                f"{where}: has no column for the {role}; accepted: {', '.join(NAMES[role])}; "
                f"has: {', '.join(map(repr, columns))[:300] or 'none'}{near}"
            )
    sized, edged = _four(where, SIZED, plain), _four(where, EDGED, plain)
    if (sized and edged) or (found["box"] and (sized or edged)):
        raise UserError(f"{where}: has more than one box a row; keep one column box, or x, y, w, h, or xmin, ymin, …")
    return Roles(**found, edges=sized or edged, edges_are_sizes=sized is not None)


def facts(where: str, row: Mapping[str, Any], roles: Roles) -> Facts:
    """Reads a row.

    Raises:
        UserError: a made image, no label, an unknown split, or a box that is not four numbers; says in which row.
    """
    refuse_made(where, row.get(roles.origin or ""))
    label = text(where, "label", row.get(roles.label or ""))
    if label is None:
        raise UserError(f"{where} has no label; remove the row, or label it")
    split = text(where, "split", row.get(roles.split or ""))
    if split is not None and split.lower() not in SPLIT_FOLDERS:
        raise UserError(f"{where}: unknown split {split!r}; accepted: {', '.join(SPLIT_FOLDERS)}, or nothing")
    group = text(where, "group", row.get(roles.group or ""))
    return Facts(label, None if split is None else SPLIT_FOLDERS[split.lower()], group, _box(where, row, roles))


def refuse_made(where: str, origin: Any) -> None:
    """Stops at what no test may be made of: the source is taken for real images, and some of them become the test.

    Raises:
        UserError: the image is an augmented or synthetic one, as our exports and data sets say.
    """
    if isinstance(origin, str) and origin.strip().lower() in MADE:
        raise UserError(
            f"{where} is an image of origin {origin!r}, but a source must hold real images only; take it out, or "
            "export data/real alone"
        )


def tells_origin(name: str) -> bool:
    """Whether a file beside images is the table that our exports put there."""
    return PurePosixPath(name).name == "metadata.csv"


def refuse_made_rows(where: str, data: bytes) -> None:
    """Stops at a table that says of an image that it was made; one that can't be read says nothing.

    Raises:
        UserError: as `refuse_made`.
    """
    table = csv.DictReader(io.StringIO(data.decode("utf-8-sig", errors="replace"), newline=""))
    try:
        for number, row in enumerate(table, 2):
            refuse_made(f"{where}: row {number}", row.get("origin"))
    except csv.Error:
        return


def text(where: str, role: str, value: Any) -> str | None:
    """Text or a whole number as text; None for nothing.

    Raises:
        UserError: it is neither, too long, or holds signs that cannot be shown.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if value is None or (isinstance(value, float) and math.isnan(value)):  # pandas' way to write nothing
        return None
    if not isinstance(value, (str, int)):
        raise UserError(f"{where}: {role} must be text or a whole number, got {str(value)[:80]!r}")
    found = str(value).strip()
    if len(found) > MAX_LABEL_CHARS or not found.isprintable():
        raise UserError(f"{where}: {role} must be at most {MAX_LABEL_CHARS} printable signs, got {found[:80]!r}")
    return found or None


def box(where: str, numbers: Iterable[Any], *, are_sizes: bool = True) -> Box:
    """A box in whole pixels, both edges rounded; what lies far outside any image stays outside.

    Args:
        numbers: left, top, and then width and height, or the right and lower edges.

    Raises:
        UserError: not four finite numbers.
    """
    given = list(numbers)
    try:
        left, top, third, fourth = (float(number) for number in given)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: a box must be four numbers x, y, w, h, got {str(given)[:80]}") from None
    right, bottom = (left + third, top + fourth) if are_sizes else (third, fourth)
    if not all(math.isfinite(number) for number in (left, top, right, bottom)):
        raise UserError(f"{where}: a box must be four finite numbers, got {str(given)[:80]}")
    x, y, x_end, y_end = (round(max(-_FAR, min(_FAR, number))) for number in (left, top, right, bottom))
    return x, y, x_end - x, y_end - y


def _box(where: str, row: Mapping[str, Any], roles: Roles) -> Box | None:
    if roles.edges is not None:
        numbers = [row.get(name) for name in roles.edges]
        return (
            None if all(n is None or n == "" for n in numbers) else box(where, numbers, are_sizes=roles.edges_are_sizes)
        )
    value = row.get(roles.box or "")
    if isinstance(value, str):
        value = value.strip("[]() \t").replace(",", " ").replace(";", " ").split()
    if not value:
        return None
    return box(where, value if isinstance(value, (list, tuple)) else [value])


def _column(where: str, role: str, plain: dict[str, str], wins: str) -> str | None:
    found = [plain[name] for name in NAMES[role] if name in plain]
    if wins in plain:
        return plain[wins]
    if len(found) > 1:
        raise UserError(
            f"{where}: {' and '.join(map(repr, found))} could each be the {role}; name one of them {wins!r}"
        )
    return found[0] if found else None


def _four(
    where: str, kinds: tuple[tuple[str, str, str, str], ...], plain: dict[str, str]
) -> tuple[str, str, str, str] | None:
    whole = next((kind for kind in kinds if all(name in plain for name in kind)), None)
    if whole is not None:
        left, top, third, fourth = (plain[name] for name in whole)
        return left, top, third, fourth
    for kind in kinds:
        missing = [name for name in kind if name not in plain]
        if len(missing) == 1:
            raise UserError(f"{where}: has columns for a box, but not {missing[0]!r} (expected {', '.join(kind)})")
    return None


def _plain(column: str) -> str:
    return column.strip().lower().replace(" ", "_").replace("-", "_")
