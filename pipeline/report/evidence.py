"""What the verdict rests on: the gain and its error, the looks, small classes, and what each means brought."""

from collections.abc import Mapping
from typing import Any

from pipeline.metrics.arms import called
from pipeline.metrics.looks import level_text
from pipeline.report import format as form
from pipeline.report.arms import shown

DIGEST = 16  # characters of a digest that are shown
Row = tuple[str, list[str]]


def level(metrics: Mapping[str, Any]) -> str:
    """The level of the intervals that the verdict rests on, such as 97.5 %."""
    return level_text(0.05 if metrics["look"] is None else metrics["look"]["alpha"])


def look(metrics: Mapping[str, Any]) -> tuple[str, str] | None:
    """Which look at the test images it is, and what it and all so far may err; none where looks are not counted."""
    entry = metrics["look"]
    if entry is None:
        return None
    share, spent, budget = (f"{100 * entry[key]:.3g} %" for key in ("alpha", "spent", "budget"))
    return form.ordinal(entry["number"]), f"may err with {share}; {spent} of {budget} are spent"


def gains(metrics: Mapping[str, Any]) -> list[Row]:
    """(rival, [gain, least gain shown, errors of seeds, images, both, images right by one alone, p of McNemar])."""
    rows = []
    for key, gain in metrics["gain"].items():
        entry, images = gain["balanced_accuracy"], gain["mcnemar"]
        error = entry["standard_error"]
        rows.append(
            (
                f"over {called(key)}",
                [
                    f"{form.points(entry['mean'])} ({form.points_interval(entry['interval'])})",
                    form.percent(entry["detectable"]),
                    *(form.percent(error[part]) for part in ("seeds", "images", "both")),
                    f"{form.count(images['only_new'])} : {form.count(images['only_old'])}",
                    form.p_value(images["p_value"]),
                ],
            )
        )
    return rows


def means(metrics: Mapping[str, Any]) -> list[Row]:
    """(means, [what is compared, seeds, gain in balanced accuracy, gain in the classes with few images])."""
    return [
        (
            name,
            [
                f"{called(entry['with'])} beside {called(entry['without'])}",
                form.count(entry["seeds"]),
                _gain(entry["balanced_accuracy"]),
                _gain(entry["few"]) if entry["few"] else form.NONE,
            ],
        )
        for name, entry in metrics["attribution"].items()
    ]


def pooled(metrics: Mapping[str, Any]) -> tuple[str, bool] | None:
    """What is known of the classes too small to be judged alone, and whether they are harmed; none without any."""
    entry = metrics["pooled"]
    if entry is None:
        return None
    figures = ", ".join(f"{_gain(gain)} over {called(key)}" for key, gain in entry["gain"].items())
    judged = "" if entry["judged"] else "; even together too few to be judged"
    images = form.counted(entry["test_images"], "test image")
    return f"{form.some(entry['classes'])}: {images} together, {figures}{judged}", bool(entry["harmed"])


def quality(metrics: Mapping[str, Any]) -> list[Row]:
    """(arm, [AUROC, worst class and its recall, accuracy of all classifiers together, their calibration error])."""
    rows = []
    for arm, title in shown(metrics).items():
        entry = metrics["arms"][arm]
        worst, together, area = entry["worst_class"], entry["together"], entry["auroc"]["mean"]
        before, after = together["calibration_error"], together["calibration_error_tempered"]
        rows.append(
            (
                title,
                [
                    form.NONE if area is None else form.percent(area),
                    f"{worst['class']}: {form.percent(worst['mean'])} ({form.percent_interval(worst['ci95'])})",
                    form.percent(together["balanced_accuracy"]),
                    f"{form.percent(before)} → {form.percent(after)}",
                ],
            )
        )
    return rows


def robustness(metrics: Mapping[str, Any]) -> tuple[list[str], list[Row]] | None:
    """The corruptions, and (arm, [balanced accuracy under each, mean of all]); none where none were asked for."""
    found = metrics.get("robustness")
    if not found:
        return None
    names = list(next(iter(found.values()))["corruptions"])
    rows = []
    for arm, title in shown(metrics).items():
        under = [found[arm]["corruptions"][name]["mean"] for name in names]
        rows.append((title, [form.percent(share) for share in [*under, found[arm]["balanced_accuracy"]["mean"]]]))
    return [name.replace("_", " ") for name in names], rows


def subgroups(metrics: Mapping[str, Any]) -> tuple[str, list[str], list[Row]] | None:
    """A sentence, the groups that have a column, and (arm, [median, worst group, spread, each group's accuracy])."""
    found = metrics["subgroups"]
    if found is None:
        return None
    told = f"{form.counted(found['groups'], 'group')} (patients, cameras) among the test images"
    told += f", {form.count(found['judged'])} with enough images for a figure."
    names: list[str] = []
    rows = []
    for arm, title in shown(metrics).items():
        if entry := found["arms"].get(arm):
            names, worst = list(entry["accuracy"]), entry["worst"]
            own = [form.percent(entry["accuracy"][name]["mean"]) for name in names]
            named = f"{worst['group']}: {form.percent(worst['mean'])}"
            rows.append((title, [form.percent(entry["median"]), named, form.percent(entry["spread"]), *own]))
    return told, names, rows


def splits(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(split, its images and the beginning of their digest)."""
    return [
        (split, f"{form.counted(entry['images'], 'image')}, {entry['ids'][: len('sha256:') + DIGEST]}…")
        for split, entry in metrics.get("splits", {}).items()
    ]


def _gain(entry: Mapping[str, Any]) -> str:
    return f"{form.points(entry['mean'])} ({form.points_interval(entry['ci95'])})"
