"""The stages that train, draw and judge, on tiny data and for a few steps, each run where a test needs its outputs."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.atomic import write_json
from pipeline.dataset import Dataset
from pipeline.images import SHAPE_FILE
from pipeline.stages import evaluate, synthesize, train_classifier, train_generator, train_source
from tests.tiny import bars, settings, write, write_bars

STEPS = {"steps": 6, "batch_size": 8}


class Chain:
    """Folders named like those of dvc.yaml, below a root; class 2 has one training image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.train = write_bars(root / "real" / "train", [9, 5, 1])
        write_json(self.train / SHAPE_FILE, {"size": 8, "channels": 1, "how": "pad"})
        self.val = write_bars(root / "real" / "val", [2, 2, 1], split="val")
        self.test = write_bars(root / "real" / "test", [6, 6, 3], split="test")
        self.augmented = write_bars(root / "augmented", [0, 2, 3], origin="augmented", weight=0.5)
        self.source_domain = write_bars(root / "source_domain", [10, 10, 10])

    def copy(self, root: Path) -> "Chain":
        """All of it in another place."""
        shutil.copytree(self.root, root)
        other = Chain.__new__(Chain)
        other.root = root
        for name in ("train", "val", "test", "augmented", "source_domain"):
            setattr(other, name, root / getattr(self, name).relative_to(self.root))
        return other

    def without_source_domain(self) -> "Chain":
        self.source_domain = write(self.root / "no_source_domain", bars([]), [], ())
        return self

    def train_source(self, name: str = "source", **changes: Any) -> Path:
        params = settings(
            train_source.Params,
            "train_source",
            **{"backbones": {"resnet": {"depth": 8, "width": 4}}, "recipe": {"schedule": STEPS}, **changes},
        )
        train_source.run(self.source_domain, self.root / name, self.root / f"{name}.json", params)
        return self.root / name

    def train_generator(self, folder: str = "generator", **changes: Any) -> Path:
        train_generator.run(
            (self.train, self.augmented),
            self.val,
            self.source_domain,
            *(self.root / name for name in (folder, f"{folder}.json", f"{folder}.csv", f"{folder}-samples")),
            settings(train_generator.Params, "train_generator", **{"schedule": STEPS, **changes}),
        )
        return self.root / folder

    def train_classifier(
        self,
        name: str,
        *train: Path,
        losses: tuple[str, ...] = (),
        folds: str | None = None,
        fresh: str | None = None,
        val: Path | None = None,
        **changes: Any,
    ) -> Path:
        """An arm; `source` must have run."""
        train_classifier.run(
            train,
            val or self.val,
            self.root / "source",
            self.root / name,
            self.root / f"{name}.json",
            self.root / f"{name}.csv",
            settings(
                train_classifier.Params,
                "train_classifier",
                **{"seeds": 2, "folds": 2, "recipe": {"schedule": STEPS}, **changes},
            ),
            losses=losses,
            folds=None if folds is None else self.root / folds,
            fresh=None if fresh is None else self.root / fresh,
        )
        return self.root / name

    def baseline(self, name: str = "baseline", **changes: Any) -> Path:
        both = ("cross_entropy", "balanced_softmax")
        return self.train_classifier(name, self.train, losses=both, folds=f"{name}-folds", **changes)

    def plan(self, name: str, wanted: list[int]) -> Path:
        data = Dataset.open(self.train)
        entries = {
            label: {"real": int(real), "augment": 0, "synthesize": count}
            for label, real, count in zip(data.class_names, data.class_counts(), wanted, strict=True)
        }
        path = self.root / f"{name}.plan.json"
        path.write_text(json.dumps(entries), encoding="utf-8")
        return path

    def synthesize(
        self,
        name: str = "synthetic",
        wanted: list[int] | None = None,
        gate: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Path:
        """Draws; `generator` and `baseline` must have run. No gate unless one is given."""
        params = settings(synthesize.Params, "synthesize", **more)
        params = synthesize.Params(**{**vars_of(params), "gate": dict(gate or {})})
        synthesize.run(
            self.train,
            self.root / "generator",
            self.root / "baseline-folds",
            self.plan(name, [0, 4, 8] if wanted is None else wanted),
            self.root / name,
            *(self.root / f"{name}.{suffix}" for suffix in ("json", "csv", "parquet", "fidelity.csv")),
            params,
        )
        return self.root / name

    def evaluate(
        self, name: str = "evaluate", test: Path | None = None, seen: tuple[Path, ...] = (), **changes: Any
    ) -> Path:
        """The verdict; all arms must have run. `seen` is what was trained on beside the chain's own data."""
        evaluate.run(
            self.train,
            self.val,
            test or self.test,
            (self.augmented, self.source_domain, *seen),
            *(self.root / arm for arm in ("baseline", "arm", "completed", "feature_completed", "fresh")),
            self.root / "looks.json",
            *(self.root / f"{name}.{suffix}" for suffix in ("json", "headline.json", "recall.csv", "confusion.csv")),
            settings(
                evaluate.Params, "evaluate", **{"num_resamples": 200, "min_test_images": 5, "min_seeds": 2, **changes}
            ),
        )
        return self.root / f"{name}.json"

    def json(self, name: str) -> dict[str, Any]:
        """What a stage wrote as its metrics."""
        content: dict[str, Any] = json.loads((self.root / f"{name}.json").read_text(encoding="utf-8"))
        return content

    def text(self, name: str) -> str:
        return (self.root / name).read_text(encoding="utf-8")


def vars_of(params: Any) -> dict[str, Any]:
    return {name: getattr(params, name) for name in params.__dataclass_fields__}
