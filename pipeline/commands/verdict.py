"""Prints what came of it: recall of each class and arm, the verdict, where the report lies."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipeline.metrics.arms import called
from pipeline.report import evidence
from pipeline.report import format as form
from pipeline.report.arms import KEYS, MANY_CLASSES, ClassRow, Figure, baseline_gains, class_rows, compared, figure
from pipeline.report.inputs import read_json
from pipeline.report.phrases import filled

LAYOUTS = ((True, True), (False, True), (False, False))  # interval beside its figure or below, names cut or on lines
UNBOUNDED = 10_000
SMALLEST, EXTREMES = 10, 5
COLOURS = {"ship": "green", "hold": "yellow"}


def run(
    metrics: Path = Path("results/evaluate/metrics.json"),
    *,
    ingest: Path = Path("results/ingest/metrics.json"),
    augment: Path = Path("results/augment/metrics.json"),
    synthesize: Path = Path("results/synthesize/metrics.json"),
    report: Path = Path("results/report/index.html"),
) -> None:
    """Prints the table, one sentence of verdict and the report's path.

    Raises:
        UserError: a result is missing or damaged.
    """
    content = read_json(metrics, KEYS)
    real = read_json(ingest, ["images"])["images"]["train"]
    made = read_json(augment, ["images"])["images"]
    drawn = read_json(synthesize, ["classes"])["classes"]
    counts = {
        "real": list(real.values()),
        "augmented": [made.get(name, 0) for name in real],
        "synthetic": [drawn[name]["accepted"] if name in drawn else 0 for name in real],
    }
    show(Console(highlight=False), content, class_rows(content, list(real), counts), report)


def show(console: Console, metrics: dict[str, Any], rows: Sequence[ClassRow], report: Path) -> None:
    """Prints the table and the verdict, as wide as the console is."""
    chosen = choose(rows)
    tables = [_table(chosen, metrics, rows, wide, one_line) for wide, one_line in LAYOUTS]
    room = console.options.update_width(UNBOUNDED)
    fitting = (table for table in tables if console.measure(table, options=room).maximum <= console.width)
    console.print(next(fitting, tables[-1]))
    for note in _notes(chosen, rows, metrics):
        console.print(Text(filled(note, console.width), style="dim"), soft_wrap=True)
    verdict = str(metrics["verdict"])
    sentence = Text(filled(f"{verdict.upper()}: {metrics['reason']}", console.width))
    sentence.stylize(f"bold {COLOURS.get(verdict, '')}", 0, len(verdict))
    console.print(Text("\n"), sentence, sep="", soft_wrap=True)
    console.print(Text(f"Report: {report}" + ("" if report.exists() else " (not made yet)")), soft_wrap=True)


def choose(rows: Sequence[ClassRow]) -> list[ClassRow]:
    """All classes; of very many the smallest, and those with the largest gains and losses over Balanced Softmax."""
    if len(rows) <= MANY_CLASSES:
        return list(rows)
    by_gain = sorted((row for row in rows if row.gain), key=lambda row: row.gain["over_balanced_softmax"].mean)
    smallest = sorted(rows, key=lambda row: row.real)[:SMALLEST]
    names = {row.name for row in [*smallest, *by_gain[:EXTREMES], *by_gain[-EXTREMES:]]}
    return sorted((row for row in rows if row.name in names), key=lambda row: -row.real)


def _table(
    chosen: Sequence[ClassRow], metrics: dict[str, Any], rows: Sequence[ClassRow], wide: bool, one_line: bool
) -> Table:
    table = Table(
        title="Recall on real test images in %, with 95 % intervals",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1 if wide else 0, 0, 1),
    )
    arms = compared(metrics)
    table.add_column("class", overflow="ellipsis", no_wrap=one_line, min_width=5, max_width=24 if wide else 14)
    for title in ("real", "added"):
        table.add_column(title, justify="right", no_wrap=True)
    for title in arms.values():
        table.add_column(title if wide else title.replace("-", "-\n").replace(" ", "\n"), justify="right", no_wrap=True)
    for row in chosen:
        cells = [_cell(row.recall.get(arm), wide) for arm in arms]
        table.add_row(Text(_flag(row) + row.name), form.count(row.real), form.count(row.added), *cells)
    table.add_section()
    overall = [_cell(figure(metrics["arms"][arm]["balanced_accuracy"]), wide) for arm in arms]
    real, added = (form.count(sum(values)) for values in zip(*((row.real, row.added) for row in rows), strict=True))
    table.add_row(Text("all classes", style="bold"), real, added, *overall)
    return table


def _cell(entry: Figure | None, wide: bool) -> Text:
    if entry is None:
        return Text(form.NONE)
    bounds = form.percent_interval(entry.ci95)
    return Text.assemble(form.percent(entry.mean), (f" ({bounds})" if wide else f"\n{bounds}", "dim"))


def _flag(row: ClassRow) -> str:
    return ("! " if row.harmed else "") + ("* " if row.cannot_be_judged else "")


def _notes(chosen: Sequence[ClassRow], rows: Sequence[ClassRow], metrics: dict[str, Any]) -> list[str]:
    notes = [
        f"{form.counted(metrics['seeds'], 'training seed')}, {form.count(metrics['test_images'])} test images; "
        "added: augmented and synthetic; all classes: balanced accuracy."
    ]
    if len(chosen) < len(rows):
        notes.append(
            f"{len(chosen)} of {len(rows)} classes: the {SMALLEST} smallest, and the {EXTREMES} largest gains "
            "and losses over Balanced Softmax. The report has all."
        )
    if any(row.harmed for row in chosen):
        notes.append(f"! shown to lose more than {form.percent(metrics['max_class_loss'])} points")
    if any(row.cannot_be_judged for row in chosen):
        notes.append("* has too few test images to be judged")
    return notes + _apart(metrics) + _ground(metrics)


def _ground(metrics: dict[str, Any]) -> list[str]:
    """Which look it is, what gain it could have shown, and the classes that are judged together."""
    least = [
        f"{form.percent(metrics['gain'][key]['balanced_accuracy']['detectable'])} over {title}"
        for key, title in baseline_gains(metrics["gain"]).items()
    ]
    told = f"a gain of {', '.join(least)} would be shown in four cases of five"
    look = evidence.look(metrics)
    notes = [f"{look[0]} look at these test images: {look[1]}; {told}." if look else f"{told[0].upper()}{told[1:]}."]
    if pooled := evidence.pooled(metrics):
        notes.append(("! " if pooled[1] else "") + f"Too small to be judged alone: {pooled[0]}.")
    return notes


def _apart(metrics: dict[str, Any]) -> list[str]:
    """What the arms brought that the verdict does not look at; results of an older run have none."""
    notes = []
    for arm, gains in metrics.get("apart", {}).items():
        own = figure(metrics["arms"][arm]["balanced_accuracy"])
        over = [(figure(gains[key]["balanced_accuracy"]), title) for key, title in baseline_gains(gains).items()]
        told = [f"{form.points(gain.mean)} ({form.points_interval(gain.ci95)}) over {title}" for gain, title in over]
        notes.append(
            f"{called(arm).capitalize()}, apart from the verdict: {form.percent(own.mean)} "
            f"({form.percent_interval(own.ci95)}), {', '.join(told)}"
        )
    return notes
