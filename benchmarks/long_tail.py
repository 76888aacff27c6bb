"""CIFAR-10-LT and CIFAR-100-LT (imbalance 100) with a ResNet-32, beside the figures that papers give.

`python -m benchmarks.long_tail [cifar10 cifar100] [--schedule full] [--seeds 3] [--on val]` trains every arm and writes
a line for each to benchmarks/long_tail.csv. What is there is not run again, and a killed training goes on from its
checkpoint: the same command resumes. No outside data, the network of the last update, the test split looked at once an
arm. `--on val` judges on a tenth of the training images that is held out instead: settings are chosen there.

On a GPU: `python -m benchmarks.long_tail --schedule full`. On a processor: `--schedule short`, a fiftieth of the
updates, whose figures compare with each other only; `--parallel 2 --threads 1` makes the most of two cores.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd

from benchmarks.long_tail_table import OUT, judge, summary
from benchmarks.trial import Trial
from pipeline.atomic import write_json
from tests.tiny import DATA, merged

DATA_SETS = {"cifar10": "cifar10-lt100.zip", "cifar100": "cifar100-lt100.zip"}
CROP_AND_FLIP = {
    "name": "none",
    "horizontal_flip": 0.5,
    "shift": 0.125,
    "whole_pixels": True,
    "border": "black",
} | dict.fromkeys(("rotation_degrees", "scale", "shear", "brightness", "contrast"), 0.0)
TRIVIAL = {"name": "trivial"}
SGD = {"optimiser": "sgd", "lr": 0.1, "batch_size": 128, "weight_decay": 0.0005, "max_grad_norm": 1000.0}
SCHEDULES: dict[str, dict[str, Any]] = {
    "short": {
        "epochs": 4,
        "warmup": 0.2,
        "generator": 1200,
        "generator_width": 16,
        "folds": 2,
        "solver": "euler",
        "max_draws": 3,  # a generator this short fills few classes, and every draw costs time
    },
    "full": {
        "epochs": 200,
        "warmup": 0.025,
        "generator": 60_000,
        "generator_width": 64,
        "folds": 4,
        "solver": "heun",
        "max_draws": 50,
    },
}
ARMS: dict[str, dict[str, Any]] = {
    "cross-entropy": {"loss": "cross_entropy"},
    "LDAM-DRW": {"loss": "ldam_drw"},
    "Balanced Softmax": {
        "loss": "balanced_softmax",
        "folds": True,
    },  # the gate's classifiers; they count in its seconds
    "BCL": {"loss": "balanced_contrastive", "recipe": {"views": TRIVIAL}},
    "Balanced Softmax, augmented": {"loss": "balanced_softmax", "added": "augmented"},
    "Balanced Softmax, completed": {"loss": "balanced_softmax", "added": "synthetic"},
    "BCL, completed": {"loss": "balanced_contrastive", "recipe": {"views": TRIVIAL}, "added": "synthetic"},
}


def settings(data: str, schedule: str, seed: int, on: str) -> dict[str, Any]:
    """Params for a data set; the number of updates is filled in when its images are counted."""
    how = SCHEDULES[schedule]
    return {
        "ingest": {
            "source": str(DATA / DATA_SETS[data]),
            "image_size": 32,
            "leaks": "keep",  # published figures train on all of it
            "val_fraction": 0.1 if on == "val" else 0.0,
            "seed": seed,
        },
        "ingest_source": {"source": "none"},
        "analyze_bias": {"augment_share": 0.0, "target": 0.2, "max_synthesize": 5},
        "train_source": {"backbone": "resnet", "backbones": {"resnet": {"depth": 32, "width": 16}}, "seed": seed},
        "train_generator": {
            "name": "flow",
            "generators": {"flow": {"width": how["generator_width"]}},
            "seed": seed,
            "schedule": {"steps": how["generator"], "precision": "auto"},
            "augmentation": CROP_AND_FLIP | {"shift": 0.0},
        },
        "train_classifier": {
            "transfer": "structure",
            "seed": seed,
            "seeds": 1,
            "folds": how["folds"],
            "recipe": {
                "schedule": SGD | {"warmup": how["warmup"], "precision": "auto"},
                "augmentation": CROP_AND_FLIP,
                "label_smoothing": {"balanced_softmax": 0.0},
            },
            "added": {"batch_size": 64, "weight": 0.2, "final_weight": 0.0},
        },
        "synthesize": {
            "seed": seed,
            "max_draws": how["max_draws"],
            "sampling": {"flow": {"steps": 12, "solver": how["solver"], "source_style": 0.0}},
        },
    }


def prepared(folder: Path, data: str, schedule: str, seed: int, on: str, threads: int) -> Trial:
    """A trial whose images are in; what ran in it before is not run again."""
    trial = Trial(folder, settings(data, schedule, seed, on), threads)
    if not (folder / "models/source").exists():
        trial.run("scan", "ingest", "ingest_source", "analyze_bias", "augment", "train_source")
    images = sum(trial.json("results/analyze_bias/plan.json")[name]["real"] for name in _names(trial))
    size = trial.params["train_classifier"]["recipe"]["schedule"]["batch_size"]
    steps = round(SCHEDULES[schedule]["epochs"] * images / size)
    trial.change({"train_classifier": {"recipe": {"schedule": {"steps": steps}}}})
    return trial


def _names(trial: Trial) -> list[str]:
    return list(trial.json("results/analyze_bias/plan.json"))


def train(trial: Trial, arm: str) -> tuple[Path, float]:
    """Trains an arm; returns the folder of its classifier and the seconds it took."""
    how = ARMS[arm]
    added = f" {ADDED[how['added']](trial)}" if "added" in how else ""
    out = f"models/{arm.replace(' ', '-').replace(',', '')}"
    folds = " --folds models/folds" if how.get("folds") else ""
    trial.change({"train_classifier": merged({"recipe": {"views": None}}, {"recipe": how.get("recipe", {})})})
    seconds = trial.call(
        f"python -m pipeline train_classifier --losses {how['loss']} --train data/real/train{added}"
        f" --val data/real/val --source models/source --out {out}{folds} --metrics {out}.json --curves {out}.csv"
    )
    return trial.folder / out, seconds


def synthetic(trial: Trial) -> str:
    """The folder of the synthetic images of the plan; made if it isn't there."""
    folder = "data/synthetic"
    if not (trial.folder / folder).exists():
        if not (trial.folder / "models/folds").exists():
            train(trial, "Balanced Softmax")
        trial.run("train_generator", "synthesize")
    return folder


def augmented(trial: Trial) -> str:
    """The folder of as many cropped and mirrored images of each class as are to be synthetic: what these must beat."""
    folder, results = "data/in_place_of_synthetic", "results/in_place_of_synthetic"
    if not (trial.folder / folder).exists():
        planned = trial.json("results/analyze_bias/plan.json")
        swapped = {
            name: {"real": counts["real"], "augment": counts["synthesize"], "synthesize": 0}
            for name, counts in planned.items()
        }
        write_json(trial.folder / f"{results}.plan.json", swapped)
        trial.change({"augment": {"policy": CROP_AND_FLIP, "limits": {"horizontal_flip": 0.5}}})
        trial.call(
            f"python -m pipeline augment --train data/real/train --plan {results}.plan.json --out {folder}"
            f" --metrics {results}.json"
        )
    return folder


ADDED = {"augmented": augmented, "synthetic": synthetic}


class Results:
    """The rows of OUT, which several trials add to."""

    KEY = ("data", "schedule", "on", "arm", "seed")

    def __init__(self) -> None:
        self.rows = pd.read_csv(OUT) if OUT.exists() else pd.DataFrame(columns=self.KEY)
        self._turn = Lock()

    def __contains__(self, key: tuple[Any, ...]) -> bool:
        return key in set(self.rows[list(self.KEY)].itertuples(index=False, name=None))

    def add(self, key: tuple[Any, ...], figures: dict[str, float]) -> None:
        """Writes a row."""
        row = dict(zip(self.KEY, key, strict=True)) | figures
        with self._turn:
            self.rows = pd.concat([self.rows, pd.DataFrame([row])]) if len(self.rows) else pd.DataFrame([row])
            self.rows.to_csv(OUT, index=False)
        print(row, flush=True)


def run(data: str, seed: int, given: argparse.Namespace, results: Results) -> None:
    """The arms that are missing of one data set and seed."""
    keys = {arm: (data, given.schedule, given.on, arm, seed) for arm in given.arms}
    folder = (given.folder / f"{data}-{given.schedule}-{given.on}-{seed}").absolute()
    for arm in (arm for arm, key in keys.items() if key not in results):
        trial = prepared(folder, data, given.schedule, seed, given.on, given.threads)
        model, seconds = train(trial, arm)
        results.add(keys[arm], judge(trial.folder, model, given.on) | {"seconds": round(seconds)})


def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_tail", description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", choices=[[], *DATA_SETS], default=list(DATA_SETS))
    parser.add_argument("--schedule", choices=SCHEDULES, default="short")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--on", choices=("val", "test"), default="test")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--folder", type=Path, default=Path(".counterweight/long_tail"))
    parser.add_argument("--parallel", type=int, default=1, help="trials at once (a trial is a data set and seed)")
    parser.add_argument("--threads", type=int, default=2, help="of each trial")
    given = parser.parse_args()
    results = Results()
    with ThreadPoolExecutor(given.parallel) as pool:
        jobs = [pool.submit(run, data, seed, given, results) for seed in range(given.seeds) for data in given.data]
        for job in as_completed(jobs):
            job.result()
    print(summary(results.rows).to_string(index=False))


if __name__ == "__main__":
    main()
