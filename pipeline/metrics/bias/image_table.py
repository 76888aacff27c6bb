"""The table of all images: what was measured of each, and in what it is odd. Written a part at a time."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.metrics.bias import odd
from pipeline.metrics.bias.label_issues import Issues
from pipeline.metrics.bias.survey import Survey

Ints = npt.NDArray[np.int64]
LISTED = 100  # of each kind


@dataclass(frozen=True)
class OddImages:
    """How many images are odd, by kind and split, and the rows of the oddest of each kind, oddest first."""

    counts: dict[str, dict[str, int]]
    oddest: dict[str, Ints]


def write(
    path: Path, survey: Survey, names: Sequence[str], issues: Issues, params: odd.Params, *, has_edges: bool
) -> OddImages:
    """Writes class, properties and flags of every image; `issues.rows` are training rows."""
    ordinary = odd.usual(
        {name: survey.column(name, "train") for name in ("edge", "size", "aspect")}, has_edges=has_edges
    )
    counts: dict[str, dict[str, int]] = {}
    ranked: dict[str, list[tuple[float, int]]] = {}
    start = 0
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for table in survey.tables():
            measured = {name: table[name].to_numpy() for name in survey.measured}
            flags = odd.flags(measured, ordinary, params)
            splits = table["split"].to_numpy()
            for kind, flagged in flags.items():
                here = {split: int((flagged & (splits == split)).sum()) for split in survey.num_rows}
                counts[kind] = {split: counts.get(kind, {}).get(split, 0) + here[split] for split in here}
                inside = np.flatnonzero(flagged)
                order = odd.severity(kind, measured, ordinary)[inside].tolist()
                more = zip(order, (start + inside).tolist(), strict=True)
                ranked[kind] = sorted([*ranked.get(kind, []), *more])[:LISTED]
            complete = _complete(table, names, flags, issues, start)
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(path, complete.schema, compression="zstd"))
            writer.write_table(complete)
            start += len(table)
    return OddImages(counts, {kind: np.array([row for _, row in rows], np.int64) for kind, rows in ranked.items()})


def _complete(
    table: pa.Table, names: Sequence[str], flags: Mapping[str, npt.NDArray[np.bool_]], issues: Issues, start: int
) -> pa.Table:
    """The part with the classes' names, the flags and the doubts about labels."""
    size = len(table)
    inside = (issues.rows >= start) & (issues.rows < start + size)
    places = issues.rows[inside] - start
    suggested, score = np.full(size, -1), np.full(size, np.nan, dtype=np.float32)
    suggested[places], score[places] = issues.suggested[inside], issues.score[inside]
    doubted = suggested >= 0
    classes = np.array([*names, None], dtype=object)
    kinds = [*flags, "label"]
    stacked = np.stack([*flags.values(), doubted], axis=1)
    offsets = np.concatenate([[0], np.cumsum(stacked.sum(axis=1))]).astype(np.int32)
    listed = pa.array(np.array(kinds, dtype=object)[np.nonzero(stacked)[1]], type=pa.string())
    more = {
        "class": pa.array(classes[table["label"].to_numpy()], type=pa.string()),
        "flags": pa.ListArray.from_arrays(offsets, listed),
        "suggested_class": pa.array(classes[suggested], type=pa.string()),
        "label_score": pa.array(score, mask=~doubted, type=pa.float32()),
    }
    for name, column in more.items():
        table = table.append_column(name, column)
    return table


def listed(survey: Survey, names: Sequence[str], oddest: Mapping[str, Ints]) -> pd.DataFrame:
    """The oddest images of each kind: columns kind, split, class, id, path, row."""
    kinds = [kind for kind, rows in oddest.items() for _ in rows]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *oddest.values()])
    return _named(survey, names, rows).assign(kind=kinds)[["kind", "split", "class", "id", "path", "row"]]


def doubted(survey: Survey, names: Sequence[str], issues: Issues) -> pd.DataFrame:
    """Labels that look wrong, the most doubtful first: columns class, suggested, score, id, path, row."""
    table = _named(survey, names, issues.rows)
    table = table.assign(suggested=[names[label] for label in issues.suggested], score=issues.score.round(6))
    return table[["class", "suggested", "score", "id", "path", "row"]]


def _named(survey: Survey, names: Sequence[str], rows: Ints) -> pd.DataFrame:
    """Split, class, id, path and number of rows in any order."""
    ascending, back = np.unique(rows, return_inverse=True)
    table = survey.take(["split", "label", "id", "path"], ascending).iloc[back].reset_index(drop=True)
    return table.assign(**{"class": [names[int(label)] for label in table["label"]], "row": rows})
