"""Data sets with planted faults: what is planted is found, what is not planted is not."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.dataset import ShardWriter, make_row
from pipeline.stages import analyze_bias
from tests.tiny import settings

Images = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]

NAMES = ("cat", "dog", "größe M", "5$ $x_{")
FILES = ("plan.json", "metrics.json", "findings.json", "images.parquet", "histogram.csv", "cues.csv", "drift.csv")


def scenes(labels: Ints, seed: int, side: int = 24) -> Images:
    """uint8 [N, side, side, 3]: a disc in the quarter that the class (0 to 3) says, on soft colours of any light.

    Only where the disc lies has to do with the class: no mean, spread or edge of the image has.
    """
    rng = np.random.default_rng(seed)
    out = np.empty((len(labels), side, side, 3), dtype=np.uint8)
    for image, label in zip(out, labels, strict=True):
        light, spread = rng.integers(90, 166, 3), int(rng.integers(5, 30))
        soft = np.clip(light + rng.integers(-spread, spread + 1, (4, 4, 3)), 0, 255).astype(np.uint8)
        image[:] = cv2.resize(soft, (side, side), interpolation=cv2.INTER_CUBIC)
        x, y = (side // 4 + int(rng.integers(-1, 2)) + side // 2 * half for half in divmod(int(label), 2))
        ink = np.clip(light + rng.choice([-1, 1]) * rng.integers(60, 90), 0, 255)
        cv2.circle(image, (x, y), side // 8, tuple(int(value) for value in ink), -1)
        image[:] = np.clip(image + rng.normal(0, 4, image.shape), 0, 255)
    return out


def framed(images: Images, chosen: npt.NDArray[np.bool_], colour: tuple[int, int, int] = (200, 30, 30)) -> Images:
    """The chosen images with a frame of one colour."""
    out = images.copy()
    for side in (np.s_[:, :1], np.s_[:, -1:], np.s_[:, :, :1], np.s_[:, :, -1:]):
        view = out[side]
        view[chosen] = colour
    return out


def write(
    folder: Path,
    batches: Sequence[tuple[Images, Ints]],
    split: Any = "train",
    given: Sequence[Mapping[str, Any]] | None = None,
) -> Path:
    """Writes batches as `ingest` does: a group of shards each; `given` is what the source says of each image."""
    for number, (images, labels) in enumerate(batches):
        with ShardWriter(folder, NAMES, prefix=f"{number:05d}") as writer:
            for place, (image, label) in enumerate(zip(images, labels, strict=True)):
                row = make_row(image, int(label), path=f"{split}/{place}.png", origin="real", split=split)
                writer.add(replace(row, **(given[place] if given else {})))
    return folder


HELD_OUT = np.arange(48) % 4


def analyse(
    root: Path,
    batches: Sequence[tuple[Images, Ints]],
    test: tuple[Images, Ints] | None = None,
    given: Sequence[Mapping[str, Any]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """Runs the stage on training batches and small held-out splits, clean if not given; what it wrote as findings."""
    write(root / "train", batches, given=given)
    write(root / "val", [(scenes(HELD_OUT, 901), HELD_OUT)], split="val")
    write(root / "test", [test or (scenes(HELD_OUT, 902), HELD_OUT)], split="test")
    out = root / "out"
    analyze_bias.run(
        root / "train",
        root / "val",
        root / "test",
        *(out / name for name in FILES),
        out / "plots",
        settings(analyze_bias.Params, "analyze_bias", **({"quick_classifier": {"filters": 32}} | changes)),
    )
    return read(root, "findings.json")


def read(root: Path, name: str) -> dict[str, Any]:
    """A JSON file that the stage wrote."""
    content: dict[str, Any] = json.loads((root / "out" / name).read_text(encoding="utf-8"))
    return content


def told(found: dict[str, Any], kind: str) -> list[str]:
    """The findings of a kind."""
    return [line["text"] for line in found["findings"] if line["kind"] == kind]
