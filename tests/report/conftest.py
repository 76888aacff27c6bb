"""The report's inputs, made small with the functions that make the real ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.atomic import write_json
from pipeline.dataset import Dataset, ShardWriter, make_row
from pipeline.images import encode_png
from pipeline.intake import Refused, write_quarantine
from pipeline.metrics.arms import APART, ARMS
from pipeline.metrics.attribution import Fresh
from pipeline.metrics.classification import confusion_matrices
from pipeline.metrics.looks import Look
from pipeline.metrics.summary import Known, Settings, summarise

SIDE = 6
Inputs = dict[str, Path]


@pytest.fixture
def make_inputs(tmp_path: Path) -> Callable[..., Inputs]:
    """Writes all inputs of the stage `report` for the given classes, and returns its paths by name."""

    def make(
        names: tuple[str, ...], real: list[int], added: int = 3, channels: int = 1, more: tuple[str, ...] = ()
    ) -> Inputs:
        rng = np.random.default_rng(0)
        counts = np.array(real)
        write_data(tmp_path / "train", names, counts, "real", rng, channels)
        write_data(tmp_path / "augmented", names, np.full(len(names), added), "augmented", rng, channels)
        write_data(tmp_path / "synthetic", names, np.full(len(names), added), "synthetic", rng, channels)
        (tmp_path / "quarantine").mkdir()
        write_quarantine(tmp_path / "quarantine", [Refused(f"{names[0]}/1.png", "damaged: <cut>", "00", 3)])
        splits = {split: dict(zip(names, counts.tolist(), strict=True)) for split in ("train", "val", "test")}
        facts = {"files": 99, "refused": 1, "duplicates": 2, "image_size": SIDE, "channels": channels}
        write_json(tmp_path / "ingest.json", {**facts, "images": splits})
        write_json(tmp_path / "synthesize.json", gate(names, added))
        write_analysis(tmp_path, names, counts, added)
        write_evaluation(tmp_path, names, counts, rng, more)
        write_curves(tmp_path, more)
        write_synthesis(tmp_path, names, added, channels)
        return {
            **{name: tmp_path / name for name in ("train", "augmented", "synthetic", "quarantine")},
            **{
                name: tmp_path / f"{name}.json"
                for name in ("ingest", "analyze_bias", "findings", "plan", "synthesize", "evaluate")
            },
            "fidelity": tmp_path / "fidelity.csv",
            "samples": tmp_path / "samples",
            "confusion": tmp_path / "confusion.csv",
            "generator_curve": tmp_path / "generator.csv",
            **{f"{arm}_curves": tmp_path / f"{arm}.csv" for arm in ("baseline", "augmented", "completed")},
        }

    return make


def write_data(
    folder: Path, names: tuple[str, ...], counts: Any, origin: Any, rng: np.random.Generator, channels: int
) -> None:
    with ShardWriter(folder, names) as writer:
        for label, count in enumerate(counts):
            for number in range(count):
                shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, 3)
                pixels = rng.integers(0, 256, shape, dtype=np.uint8)
                writer.add(make_row(pixels, label, path=f"{label}/{number}.png", origin=origin))


def gate(names: tuple[str, ...], added: int) -> dict[str, Any]:
    tally = {"wanted": added + 1, "accepted": added, "drawn": added + 2, "refused": {"near_copy": 2}}
    tally["real_pass_share"] = 0.625
    total = {"accepted": added * len(names), "drawn": (added + 2) * len(names)}
    total["real_pass_share"] = {"near_copy": 0.875, "all": 0.75}
    return {**total, "refused_share": 0.4, "short": list(names), "classes": dict.fromkeys(names, tally)}


def write_analysis(folder: Path, names: tuple[str, ...], counts: Any, added: int) -> None:
    """One finding of each sort; the first training image of the last class is dark, that of the first doubted."""
    rows = {row.label: row for row in reversed(list(Dataset.open(folder / "train").rows()))}
    dark, doubted = ({"id": rows[label].id, "path": rows[label].path} for label in (len(names) - 1, 0))
    classes = {name: {"effect": 0.1 * (place % 10), "p": 0.005} for place, name in enumerate(names)}
    shift = {"before": 1235.6, "after": 0.25, "distance": 0.75, "stability": 0.1, "p": 1e-9}
    found = {
        "findings": [
            {"kind": "cue", "text": f"border gives {names[-1]!r} away"},
            {"kind": "odd_images", "text": "odd images, dark: 1"},
        ],
        "cues": {"border": {"effect": 0.125, "p": 0.005, "classes": classes}},
        "odd_images": {"oddest": [{"kind": "dark", "split": "train", "class": names[-1], **dark}]},
        "label_issues": {"images": [{"class": names[0], "suggested": names[1], "score": 0.001, **doubted}]},
        "drift": None,
        "test_against_train": {"properties": {"brightness": shift}},
        "not_measured": {"drift": "all training images came in one batch"},
    }
    write_json(folder / "findings.json", found)
    cost = {"augment": added, "synthesize": added + 1, "bytes": 1_234_567, "error_before": 0.5, "error_after": 0.25}
    write_json(folder / "analyze_bias.json", {"plan": {"strategy": "count", **cost}})
    plan = {
        name: {"real": int(count), "augment": added, "synthesize": added + 1}
        for name, count in zip(names, counts, strict=True)
    }
    write_json(folder / "plan.json", plan)


def write_evaluation(
    folder: Path, names: tuple[str, ...], counts: Any, rng: np.random.Generator, more: tuple[str, ...]
) -> None:
    """Five arms with 2 seeds on 6 test images a class, none of the last class; later arms are right more often.

    Last and always right are the baselines under `more` losses.
    """
    labels = np.repeat(np.arange(len(names) - 1), 6)
    probs, tables = {}, []
    for place, arm in enumerate((*ARMS, *APART, *(f"baseline_{loss}" for loss in more))):
        guesses = rng.integers(0, len(names), (2, len(labels)))
        predicted = np.where(rng.random((2, len(labels))) < 0.3 + 0.2 * place, labels, guesses)
        probs[arm] = np.eye(len(names))[predicted]
        mean = confusion_matrices(labels, predicted, len(names)).mean(axis=0)
        tables += [(arm, names[i], names[j], mean[i, j]) for i, j in zip(*np.nonzero(mean), strict=True)]
    settings = Settings(
        num_resamples=5000, seed=0, max_class_loss=0.05, min_test_images=3, min_seeds=2, many_above=9, few_up_to=4
    )
    known = Known(
        look=Look(3, 0.05),
        groups_of=["north", "south"] * (len(labels) // 2),
        losses={"augmented": "balanced_softmax", "feature_completed": "cross_entropy"},
        fresh=Fresh("balanced_softmax", probs["baseline_cross_entropy"].argmax(axis=2)[:1]),
    )
    found = summarise(labels, names, counts, probs, settings, known)
    under = {"mean": 0.5, "std": 0.1}
    found["robustness"] = {
        arm: {"balanced_accuracy": under, "corruptions": {"gaussian_noise": under | {"by_severity": [0.5] * 5}}}
        for arm in probs
    }
    found["splits"] = {split: {"images": 9, "ids": f"sha256:{'0a' * 32}"} for split in ("train", "val", "test")}
    write_json(folder / "evaluate.json", found)
    pd.DataFrame(tables, columns=["arm", "actual", "predicted", "images"]).to_csv(folder / "confusion.csv", index=False)


def write_synthesis(folder: Path, names: tuple[str, ...], added: int, channels: int) -> None:
    """Figures of each class with images, and sample sheets of two moments."""
    (folder / "samples").mkdir()
    cell = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, 3)
    for step in (125, 1000):
        sheet = np.full((len(names[:20]) * cell[0], 8 * cell[1], *cell[2:]), step % 256, dtype=np.uint8)
        (folder / "samples" / f"{step:07d}.png").write_bytes(encode_png(sheet))
    figures = dict.fromkeys(("kernel", "kernel_low", "kernel_high", "precision", "recall", "coverage"), 0.5)
    row = {"synthetic": added, **figures, "authenticity": np.nan, "relative_vendi": 0.9}
    table = pd.DataFrame([{"class": name, **row} for name in names], columns=["class", *row])
    (table if added else table[:0]).to_csv(folder / "fidelity.csv", index=False)


def write_curves(folder: Path, more: tuple[str, ...]) -> None:
    (folder / "generator.csv").write_text("step,player,loss\n1,vae,3.5\n2,vae,-1.5\n", encoding="utf-8")
    for arm, losses in (("baseline", ("cross_entropy", "balanced_softmax", *more)), ("augmented", ("cross_entropy",))):
        rows = [f"{loss}/seed-{seed},{step},{1 / step}" for loss in losses for seed in (0, 1) for step in (1, 200)]
        (folder / f"{arm}.csv").write_text("\n".join(["classifier,step,loss", *rows, ""]), encoding="utf-8")
    (folder / "completed.csv").write_bytes((folder / "augmented.csv").read_bytes())
