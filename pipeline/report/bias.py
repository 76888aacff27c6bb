"""What the page says of the bias analysis: findings, cues, shifts, odd images, doubted labels, and the plan."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.dataset import Dataset
from pipeline.plan import ClassPlan
from pipeline.report import format as form
from pipeline.report import sheet

FINDING_KEYS = ("findings", "cues", "odd_images", "label_issues", "drift", "test_against_train", "not_measured")
METRIC_KEYS = ("plan",)
MOST_FINDINGS = 20
MOST_IMAGES = 16  # of a kind
KINDS = {
    "reference": "shortage",
    "cue": "spurious cue",
    "drift": "drift",
    "split": "test unlike training",
    "odd_images": "odd images",
    "label_issues": "labels that look wrong",
}


@dataclass(frozen=True)
class Picture:
    """A training image that is shown: what is written below it, its name at the source, its PNG bytes."""

    caption: str
    note: str
    path: str
    image: bytes


@dataclass(frozen=True)
class PlanRow:
    """What one class has and is to get."""

    name: str
    real: int
    augment: int
    synthesize: int

    @property
    def planned(self) -> int:
        """All of its training images, if the plan is kept."""
        return self.real + self.augment + self.synthesize


def findings(content: Mapping[str, Any]) -> tuple[list[tuple[str, str]], int]:
    """(kind, text) of the findings, the gravest kinds first as `analyze_bias` tells them; and how many more there are.

    A kind that has many is cut, so that each that has any is seen.
    """
    told = [(KINDS.get(line["kind"], line["kind"]), line["text"]) for line in content["findings"]]
    told = [(kind, text.removeprefix(f"{kind}, ").removeprefix(f"{kind}: ")) for kind, text in told]
    kinds = dict.fromkeys(kind for kind, _ in told)
    each = MOST_FINDINGS // max(1, len(kinds))
    shown = [line for kind in kinds for line in [line for line in told if line[0] == kind][:each]]
    return shown, len(told) - len(shown)


def cues(content: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """(cue, [effect, p, the class that it gives away most, its effect, its p]), effects in per cent, largest first."""
    rows = []
    for name, cue in sorted(content["cues"].items(), key=lambda item: -(item[1]["effect"] or 0)):
        most, most_of = max(cue["classes"].items(), key=lambda item: item[1]["effect"] or 0, default=("", None))
        of_class = [form.percent(most_of["effect"] or 0), form.p_value(most_of["p"])] if most_of else ["", ""]
        rows.append((name, [form.percent(cue["effect"] or 0), form.p_value(cue["p"]), most, *of_class]))
    return rows


def shifts(content: Mapping[str, Any]) -> list[tuple[str, str, list[str]]]:
    """(what is compared, property, [median before, median after, Kolmogorov-Smirnov distance, p])."""
    compared = {"newest batch": content["drift"], "test images": content["test_against_train"]}
    return [
        (
            what,
            name,
            [
                form.number(float(f"{shift['before']:.3g}")),
                form.number(float(f"{shift['after']:.3g}")),
                f"{shift['distance']:.2f}",
                form.p_value(shift["p"]),
            ],
        )
        for what, found in compared.items()
        for name, shift in (found["properties"] if found else {}).items()
    ]


def plan_rows(plan: Mapping[str, ClassPlan], order: Sequence[str]) -> list[PlanRow]:
    """A row a class, in the page's order."""
    return [PlanRow(name, plan[name].real, plan[name].augment, plan[name].synthesize) for name in order if name in plan]


def cost(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the plan costs and is expected to give: (name, figure)."""
    plan = metrics["plan"]
    before, after = form.percent(plan["error_before"]), form.percent(plan["error_after"])
    return [
        ("to augment", form.count(plan["augment"])),
        ("to synthesise", form.count(plan["synthesize"])),
        ("to store", form.size(plan["bytes"])),
        ("quick classifier's mistakes, expected", f"{before} → {after} %"),
    ]


def pictures(content: Mapping[str, Any], train: Dataset) -> tuple[list[Picture], list[Picture]]:
    """Training images that are odd, and those whose labels look wrong, the clearest of each first."""
    odd = _some_of_each([item for item in content["odd_images"]["oddest"] if item["split"] == "train"])
    doubted = content["label_issues"]["images"][:MOST_IMAGES]
    found = sheet.images_of(train, {item["id"] for item in (*odd, *doubted)})
    return (
        [Picture(item["kind"], item["class"], item["path"], found[item["id"]]) for item in odd if item["id"] in found],
        [
            Picture(item["class"], f"→ {item['suggested']}?", item["path"], found[item["id"]])
            for item in doubted
            if item["id"] in found
        ],
    )


def _some_of_each(odd: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The first of each kind, as many of each as have room together."""
    by_kind: dict[str, list[Mapping[str, Any]]] = {}
    for item in odd:
        by_kind.setdefault(item["kind"], []).append(item)
    return [item for items in by_kind.values() for item in items[: MOST_IMAGES // len(by_kind)]]
