"""Measures what is uneven about the data set and plans how many images each class is to get, and by which means."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator
from threadpoolctl import threadpool_limits

from pipeline import pace, registry, strategies
from pipeline.atomic import new_file, new_folder, write_json, write_table
from pipeline.dataset import Dataset
from pipeline.dataset.cache import cache_folder
from pipeline.metrics import bias
from pipeline.metrics.bias import analysis, cues, findings, image_table, label_issues, learning_curve, odd, reference
from pipeline.metrics.bias import quick_classifier as quick
from pipeline.metrics.bias.findings import detail as findings_in_full
from pipeline.metrics.bias.survey import Survey, evenly, survey
from pipeline.metrics.bias.tables import cue_table, drift_table
from pipeline.params import section
from pipeline.plan import ClassPlan
from pipeline.progress import log
from pipeline.report import charts_all
from pipeline.strategies import Cost, Override, Situation
from pipeline.training.folds import assign_folds, numbered

Floats = npt.NDArray[np.float64]
REPEATS = 2  # ways to cut into folds that the learning curves are averaged over
MOST_LINES = 60  # of the table that is shown


@section
class Params:
    """Section `analyze_bias` of params.yaml.

    Attributes:
        strategy: how the plan is made, a file of `pipeline/strategies`.
        strategies: options of each.
        target: what each class is brought to, in sizes of the largest class.
        augment_share: share of what a class gets that is augmented; the rest is synthesised.
        max_augment, max_synthesize: at most so many images for each real one of the class.
        overrides: class -> numbers that replace the strategy's.
        worth: share of a real image's effect that an added one is taken to have.
        reference: class -> share in reality; None where nobody knows.
        effective_number_beta: how much an image repeats what others of its class show already.
        findings: how large and how improbable by chance is what is told.
    """

    strategy: str
    strategies: Annotated[
        dict[str, dict[str, Any]],
        registry.checked_options("pipeline.strategies", "strategy", "params.yaml: analyze_bias.strategies"),
    ]
    target: Annotated[float, Field(ge=0, le=100)]
    augment_share: Annotated[float, Field(ge=0, le=1)]
    max_augment: Annotated[float, Field(ge=0, le=1000)]
    max_synthesize: Annotated[float, Field(ge=0, le=1000)]
    overrides: dict[str, Override]
    worth: Annotated[float, Field(gt=0, le=1)]
    reference: dict[str, Annotated[float, Field(ge=0)]] | None
    effective_number_beta: Annotated[float, Field(ge=0, lt=1)]
    seed: Annotated[int, Field(ge=0)]
    findings: findings.Limits
    odd_images: odd.Params
    cues: cues.Params
    quick_classifier: quick.Params
    label_issues: label_issues.Params

    @model_validator(mode="after")
    def _reference_is_given(self) -> "Params":
        if self.reference is None and self.strategies[self.strategy].get("toward") == "reference":
            where = f"params.yaml: analyze_bias.strategies.{self.strategy}.toward"
            raise ValueError(f"{where} is 'reference', but analyze_bias.reference gives no shares")
        return self


def run(
    train: Path,
    val: Path,
    test: Path,
    plan: Path,
    metrics: Path,
    findings: Path,
    images: Path,
    histogram: Path,
    cues: Path,
    drift: Path,
    plots: Path,
    params: Params,
) -> None:
    """Writes the plan and what was found (JSON), a table of all images (Parquet), tables (CSV) and charts.

    Raises:
        UserError: `overrides` or `reference` names a class that there is not, or `reference` leaves one out.
    """
    data = {split: Dataset.open(path) for split, path in (("train", train), ("val", val), ("test", test))}
    names, counts = data["train"].class_names, data["train"].class_counts()
    strategies.check_classes(params.overrides, names)
    where = "params.yaml: analyze_bias.reference"
    expected = None if params.reference is None else reference.shares_of(params.reference, names, where)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="analyze-bias-", dir=cache_folder()) as spool, threadpool_limits(1):
        copied = evenly(data["train"].labels, params.quick_classifier.max_images, params.seed)
        seen = survey(data, copied, Path(spool))
        with new_file(images) as temporary:
            found = analyse(seen, data, expected, temporary, params)
        stored = _bytes_each(seen, data["train"].labels, counts)
    planned, worth, cost = make_plan(names, Situation(counts, expected, found.curves, params.worth), stored, params)
    table = _table(planned, {split: dataset.class_counts() for split, dataset in data.items()}, expected)
    write_json(plan, {name: asdict(entry) for name, entry in planned.items()})
    write_json(metrics, measures(counts, names, params.effective_number_beta) | _summary(found, params, cost))
    write_json(findings, findings_in_full(found, params.findings))
    for path, content in ((histogram, table), (cues, cue_table(found)), (drift, drift_table(found))):
        write_table(path, content)
    with new_folder(plots) as folder:
        charts_all.write(folder, found, params.findings, data, table, worth)
    _tell(table, cost, found, params)


def analyse(
    seen: Survey, data: Mapping[str, Dataset], expected: Floats | None, images: Path, params: Params
) -> findings.Found:
    """Applies every measure, and writes the table of all images on the way."""
    train, test = data["train"], data["test"]
    names, labels = train.class_names, train.labels
    side = min(train.image_shape[1:])
    issues, points = judge(seen, train, params)
    flagged = image_table.write(images, seen, names, issues, params.odd_images, has_edges=side >= analysis.FINE)
    permutations = params.cues.permutations
    newest, no_newest = analysis.batch_drift(seen, labels, len(names), permutations, params.seed)
    return findings.Found(
        names=names,
        counts=train.class_counts(),
        expected=expected,
        quantiles=analysis.quantiles(seen, labels, len(names)),
        left_out=analysis.without(seen),
        cues=analysis.spurious(seen, labels, names, side, params.cues, params.seed),
        newest=newest,
        no_newest=no_newest,
        test=analysis.split_shift(seen, labels, test.labels),
        odd=flagged.counts,
        odd_images=image_table.listed(seen, names, flagged.oddest),
        issues=issues,
        doubted=image_table.doubted(seen, names, issues),
        points=points,
        curves=learning_curve.fit(points),
    )


def judge(seen: Survey, train: Dataset, params: Params) -> tuple[label_issues.Issues, learning_curve.Points]:
    """What the quick classifier says of labels and of more images; it sees training images only."""
    given, groups = train.labels[seen.copied], numbered(seen.take(["group"], seen.copied)["group"])
    num_classes, settings = train.num_classes, params.quick_classifier
    x = quick.features(seen.copies, settings.filters, params.seed)
    repeats = [assign_folds(given, settings.folds, params.seed + repeat, groups) for repeat in range(REPEATS)]
    found = label_issues.find(quick.out_of_fold(x, given, repeats[0], num_classes), given, params.label_issues)
    points = learning_curve.measure(x, given, num_classes, repeats, params.seed)
    return replace(found, rows=seen.copied[found.rows]), points


def make_plan(
    names: tuple[str, ...], situation: Situation, bytes_each: Floats, params: Params
) -> tuple[dict[str, ClassPlan], Floats, Cost]:
    """The plan, what each class's images are then worth in real ones, [C], and what it costs."""
    limits = strategies.Limits(params.target, params.augment_share, params.max_augment, params.max_synthesize)
    planned = strategies.make(params.strategy, params.strategies, names, situation, limits, params.overrides)
    added = np.array([entry.augment + entry.synthesize for entry in planned.values()])
    worth = situation.counts + params.worth * added
    return planned, worth, strategies.cost(planned, situation, bytes_each)


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


def _bytes_each(seen: Survey, labels: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> Floats:
    """Mean size of each class's stored images, [C]."""
    stored = np.bincount(labels, seen.column("bytes", "train"), minlength=len(counts))
    return np.asarray(stored / np.maximum(counts, 1))


def _table(
    planned: dict[str, ClassPlan], counts: dict[str, npt.NDArray[np.int64]], expected: Floats | None
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "class": list(planned),
        "train": counts["train"],
        "augment": [entry.augment for entry in planned.values()],
        "synthesize": [entry.synthesize for entry in planned.values()],
        "val": counts["val"],
        "test": counts["test"],
    }
    if expected is not None:
        columns["due"] = (counts["train"].sum() * expected).round(1)
    return pd.DataFrame(columns)


def _summary(found: findings.Found, params: Params, cost: Cost) -> dict[str, Any]:
    """The findings in short, and the plan's cost."""
    plan = {"strategy": params.strategy} | {name: _short(value) for name, value in asdict(cost).items()}
    return findings.compact(found, params.findings) | {"plan": plan}


def _short(value: float) -> float:
    return value if isinstance(value, int) else round(value, 6)


def _tell(table: pd.DataFrame, cost: Cost, found: findings.Found, params: Params) -> None:
    """Shows the plan, its cost and the findings; what depends on the machine is shown here and nowhere written."""
    log("analyze_bias:\n" + table.to_string(index=False, max_rows=MOST_LINES))
    log(
        f"plan ({params.strategy}): {cost.augment} augmented and {cost.synthesize} synthetic images, "
        f"{cost.bytes / 1e6:.2f} MB; mistakes of the quick classifier expected to go from {cost.error_before:.1%} "
        f"to {cost.error_after:.1%}"
    )
    for work, images in (("augment", cost.augment), ("synthesize", cost.synthesize)):
        seconds = pace.seconds_for(work, images)
        told = "not known before it has run here" if seconds is None else f"about {seconds / 60:.1f} minutes here"
        if images:
            log(f"  {work}: {told}")
    for line in findings.lines(found, params.findings):
        log(f"  found: {line['text']}")
