"""Measures how uneven the classes are and plans how many images each is to get, and by which means."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from pipeline import plan as plans
from pipeline.atomic import new_file, new_folder, write_json
from pipeline.dataset import Dataset
from pipeline.metrics import bias
from pipeline.params import section
from pipeline.progress import log
from pipeline.report import charts


@section
class Params:
    """Section `analyze_bias` of params.yaml.

    Attributes:
        target: what each class is to be brought to, in sizes of the largest class.
        augment_share: share of a class's shortage that is augmented; the rest is synthesised.
        max_augment, max_synthesize: at most so many images for each real one of the class.
        effective_number_beta: how much an image repeats what others of its class show already.
    """

    target: Annotated[float, Field(ge=0, le=100)]
    augment_share: Annotated[float, Field(ge=0, le=1)]
    max_augment: Annotated[float, Field(ge=0, le=1000)]
    max_synthesize: Annotated[float, Field(ge=0, le=1000)]
    effective_number_beta: Annotated[float, Field(ge=0, lt=1)]


def run(
    train: Path, val: Path, test: Path, plan: Path, metrics: Path, histogram: Path, plots: Path, params: Params
) -> None:
    """Writes the plan (JSON), the measures (JSON), the histogram (CSV) and its pictures (PNG and SVG in `plots`)."""
    data = {split: Dataset.open(path) for split, path in (("train", train), ("val", val), ("test", test))}
    names = data["train"].class_names
    counts = data["train"].class_counts()
    planned = plans.make(
        dict(zip(names, counts.tolist(), strict=True)),
        target=params.target,
        augment_share=params.augment_share,
        max_augment=params.max_augment,
        max_synthesize=params.max_synthesize,
    )
    table = _table(planned, {split: dataset.class_counts() for split, dataset in data.items()})
    write_json(plan, {name: asdict(entry) for name, entry in planned.items()})
    write_json(metrics, measures(counts, names, params.effective_number_beta))
    with new_file(histogram) as temporary:
        table.to_csv(temporary, index=False)
    with new_folder(plots) as folder:
        figure = charts.histogram(table)
        for suffix in ("png", "svg"):
            charts.save(figure, folder / f"histogram.{suffix}")
    log("analyze_bias:\n" + table.to_string(index=False))


def measures(counts: npt.NDArray[np.int64], names: tuple[str, ...], beta: float) -> dict[str, Any]:
    """What is uneven about the class histogram."""
    effective = bias.effective_number(counts, beta)
    return {
        "images": int(counts.sum()),
        "classes": len(counts),
        "imbalance_ratio": round(bias.imbalance_ratio(counts), 6),
        "entropy": round(bias.entropy(counts), 6),
        "gini": round(bias.gini(counts), 6),
        "effective_number": {name: round(float(value), 3) for name, value in zip(names, effective, strict=True)},
    }


def _table(planned: dict[str, plans.ClassPlan], counts: dict[str, npt.NDArray[np.int64]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "class": list(planned),
            "train": counts["train"],
            "augment": [entry.augment for entry in planned.values()],
            "synthesize": [entry.synthesize for entry in planned.values()],
            "val": counts["val"],
            "test": counts["test"],
        }
    )
