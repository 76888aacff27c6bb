"""What the page says of synthesis: what the gate did, how like real images the accepted are, sample sheets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UserError
from pipeline.images import decode_png, encode_png
from pipeline.report import format as form
from pipeline.report.sheet import shrunk

KEYS = ("accepted", "drawn", "classes", "real_pass_share")
COLUMNS = ("kernel", "kernel_low", "kernel_high", "precision", "recall", "coverage", "authenticity", "relative_vendi")
SAMPLE_CLASSES, SAMPLE_IMAGES, SAMPLE_SIDE = 10, 6, 32  # of a sheet that are shown, and pixels of an image at most


@dataclass(frozen=True)
class GateRow:
    """What became of the draws for one class; `refused` follows the gate's reasons.

    Attributes:
        real_pass: share of the class's left-out real images that would pass; None without any.
    """

    name: str
    wanted: int
    drawn: int
    accepted: int
    refused: list[int]
    real_pass: float | None

    @property
    def short(self) -> int:
        """Images that are missing from the plan."""
        return self.wanted - self.accepted


def gate(synthesize: Mapping[str, Any]) -> tuple[list[tuple[str, float | None]], list[GateRow]]:
    """Reasons for refusal, each with the share of left-out real images that pass, and rows of classes.

    The reasons are those that occur, in the gate's order; the classes those that images were wanted of.
    """
    classes, passing = synthesize["classes"], synthesize["real_pass_share"]
    occurring = {reason for tally in classes.values() for reason in tally["refused"]}
    names = [*(name for name in passing if name in occurring), *sorted(occurring - set(passing))]
    rows = [
        GateRow(
            name,
            tally["wanted"],
            tally["drawn"],
            tally["accepted"],
            [tally["refused"].get(reason, 0) for reason in names],
            tally.get("real_pass_share"),
        )
        for name, tally in classes.items()
        if tally["wanted"]
    ]
    return [(reason.replace("_", " "), passing.get(reason)) for reason in names], rows


def fidelity(table: pd.DataFrame, order: Sequence[str]) -> list[tuple[str, list[str]]]:
    """(class, [images, kernel distance, precision, recall, coverage, authenticity, variety]) in the page's order.

    Kernel distances, with their intervals, in thousandths; the others but the first in per cent; a dash is what too few
    images cannot tell.
    """
    figures = table.set_index("class").apply(pd.to_numeric)
    rows = []
    for name in (name for name in order if name in figures.index):
        one = figures.loc[name]
        low, mean, high = (_thousandths(one[key]) for key in ("kernel_low", "kernel", "kernel_high"))
        kernel = form.NONE if form.NONE in (low, high) else f"{mean} ({low} to {high})"
        shares = [_percent(one[key]) for key in ("precision", "recall", "coverage", "authenticity", "relative_vendi")]
        rows.append((name, [form.count(one["synthetic"]), kernel, *shares]))
    return rows


def samples(folder: Path, image_shape: tuple[int, int, int]) -> list[tuple[int, bytes]]:
    """(step, PNG bytes) of the sheets that training wrote, made small: a class in each row.

    Raises:
        UserError: the folder is missing.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not there; has train_generator run?")
    height, width = image_shape[1:]
    shown = []
    for path in sorted(folder.glob("*.png")):
        sheet = decode_png(path.read_bytes())[: SAMPLE_CLASSES * height, : SAMPLE_IMAGES * width]
        scale = min(1.0, SAMPLE_SIDE / max(height, width))
        shown.append((int(path.stem), encode_png(shrunk(sheet, scale) if scale < 1 else sheet)))
    return shown


def _thousandths(value: float) -> str:
    return form.NONE if pd.isna(value) else f"{1000 * value:.1f}".replace("-", "−")


def _percent(share: float) -> str:
    return form.NONE if pd.isna(share) else f"{100 * share:.0f}"
