"""Puts the page together: one HTML file that needs nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from pipeline.dataset import Dataset
from pipeline.metrics.arms import ARMS, called
from pipeline.plan import ClassPlan
from pipeline.report import arms, bias, evidence, figures, sheet, synthesis, tables
from pipeline.report import format as form
from pipeline.report.arms import ClassRow

Counts = npt.NDArray[np.int64]

CONFUSION_ARMS = ("baseline_balanced_softmax", "completed")


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything the page is made of.

    Attributes:
        ingest, analyze_bias, synthesize, metrics: what these stages (`evaluate` the last) wrote as JSON.
        findings: all that `analyze_bias` found.
        curves: losses of the classifiers of baseline, augmented and completed.
        fidelity: how like real images the accepted ones of each class are.
        samples: (step, PNG bytes) of the generator's sample sheets.
    """

    train: Dataset
    augmented: Dataset
    synthetic: Dataset
    quarantine: pd.DataFrame
    ingest: Mapping[str, Any]
    analyze_bias: Mapping[str, Any]
    findings: Mapping[str, Any]
    plan: Mapping[str, ClassPlan]
    synthesize: Mapping[str, Any]
    metrics: Mapping[str, Any]
    confusion: pd.DataFrame
    generator_curve: pd.DataFrame
    curves: Mapping[str, pd.DataFrame]
    fidelity: pd.DataFrame
    samples: Sequence[tuple[int, bytes]]


def render(content: Content, images_per_class: int) -> str:
    """The page; equal content gives equal text."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["form"] = form
    data = {"real": content.train, "augmented": content.augmented, "synthetic": content.synthetic}
    counts = {origin: dataset.class_counts() for origin, dataset in data.items()}
    names = content.train.class_names
    rows = arms.in_order(arms.class_rows(content.metrics, names, counts))
    return environment.get_template("page.html.j2").render(
        _verdict(content.metrics, rows)
        | _evidence(content.metrics)
        | _classes(content.metrics, rows)
        | _data(content, counts, rows)
        | _bias(content, rows)
        | _sheet(content, rows, images_per_class)
        | _synthesis(content, [row.name for row in rows])
        | _training(content, [row.name for row in rows])
    )


def _verdict(metrics: Mapping[str, Any], rows: Sequence[ClassRow]) -> dict[str, Any]:
    return {
        "metrics": metrics,
        "gains": figures.gains(metrics["gain"], "interval"),
        "real": sum(row.real for row in rows),
        "augmented": sum(row.augmented for row in rows),
        "synthetic": sum(row.synthetic for row in rows),
        "completed_classes": sum(row.added > 0 for row in rows),
    }


def _evidence(metrics: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "level": evidence.level(metrics),
        "look": evidence.look(metrics),
        "gain_table": evidence.gains(metrics),
        "means": evidence.means(metrics),
        "pooled": evidence.pooled(metrics),
        "quality": evidence.quality(metrics),
        "robustness": evidence.robustness(metrics),
        "subgroups": evidence.subgroups(metrics),
        "splits": evidence.splits(metrics),
    }


def _classes(metrics: Mapping[str, Any], rows: Sequence[ClassRow]) -> dict[str, Any]:
    many = len(rows) > arms.MANY_CLASSES
    return {
        "arms": arms.compared(metrics),
        "own_losses": [title for arm, title in arms.compared(metrics).items() if arm not in ARMS],
        "rows": rows,
        "many": many,
        "longest": max(len(row.name) for row in rows),
        "shown_arms": arms.shown(metrics),
        "apart": [(called(arm), figures.gains(gains)) for arm, gains in metrics["apart"].items()],
        "overall": tables.overall(metrics),
        "groups": tables.groups(metrics),
        "recall": figures.compact_recall(rows) if many else figures.recall(rows),
    }


def _data(content: Content, counts: Mapping[str, Counts], rows: Sequence[ClassRow]) -> dict[str, Any]:
    many = len(rows) > arms.MANY_CLASSES
    return {
        "intake": tables.intake(content.ingest),
        "reasons": tables.reasons(content.quarantine),
        "imbalance": tables.imbalance(counts["real"], counts["real"] + counts["augmented"] + counts["synthetic"]),
        "histogram": figures.compact_histogram(rows) if many else figures.histogram(rows),
    }


def _bias(content: Content, rows: Sequence[ClassRow]) -> dict[str, Any]:
    told, more = bias.findings(content.findings)
    odd, doubted = bias.pictures(content.findings, content.train)
    return {
        "findings": told,
        "more_findings": more,
        "cues": bias.cues(content.findings),
        "shifts": bias.shifts(content.findings),
        "not_measured": content.findings["not_measured"],
        "odd": odd,
        "doubted": doubted,
        "num_doubted": len(content.findings["label_issues"]["images"]),
        "plan_rows": bias.plan_rows(content.plan, [row.name for row in rows]),
        "strategy": content.analyze_bias["plan"]["strategy"],
        "cost": bias.cost(content.analyze_bias),
    }


def _sheet(content: Content, rows: Sequence[ClassRow], images_per_class: int) -> dict[str, Any]:
    names = content.train.class_names
    labels = {name: label for label, name in enumerate(names)}
    row_of = {labels[row.name]: row for row in rows}
    order = list(row_of) if len(rows) <= arms.MANY_CLASSES else list(reversed(row_of))
    made = sheet.make(content.train, content.augmented, content.synthetic, images_per_class, order)
    return {
        "sheets": [(row_of[entry.label], entry) for entry in made],
        "names": names,
        "data_uri": sheet.data_uri,
        "images_per_class": images_per_class,
        "pixelated": max(content.train.image_shape[1:]) <= sheet.SMALL_SIDE,
    }


def _synthesis(content: Content, names: Sequence[str]) -> dict[str, Any]:
    reasons, gate = synthesis.gate(content.synthesize)
    return {
        "gate_reasons": reasons,
        "gate": gate,
        "synthesize": content.synthesize,
        "fidelity": synthesis.fidelity(content.fidelity, names),
        "samples": content.samples,
    }


def _training(content: Content, names: Sequence[str]) -> dict[str, Any]:
    shares = {arm: tables.confusion_shares(content.confusion, arm, names) for arm in CONFUSION_ARMS}
    players, generator_curve = figures.generator_curve(content.generator_curve)
    return {
        "players": players,
        "generator_curve": generator_curve,
        "classifier_curves": figures.classifier_curves(content.curves),
        "confusions": {arm: (matrix.tolist(), figures.heat_map(matrix)) for arm, matrix in shares.items()},
        "confused_most": tables.confused_most(shares, names),
    }
