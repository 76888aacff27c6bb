"""Which means of completion help: generators x gate, each with its own split, generator and classifier seeds.

`python -m benchmarks.completion SETTING [--seeds N] [--generators vae gan flow]` runs the stages of dvc.yaml
in folders of their own and writes a line a seed and arm. Choices are made on the validation column; the test column is
there to be reported.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import yaml

from tests.tiny import DATA, ROOT, merged

SMALL_CIFAR = {
    "ingest": {"source": str(DATA / "cifar10-lt100.zip"), "image_size": 16},
    "ingest_source": {"source": "none"},
    "train_generator": {"augmentation": {"rotation_degrees": 0, "horizontal_flip": 0.5, "shear": 0}},
    "train_classifier": {
        "transfer": "structure",
        "recipe": {
            "schedule": {"steps": 3000, "batch_size": 64},
            "augmentation": {"rotation_degrees": 0, "horizontal_flip": 0.5, "shear": 0},
        },
        "added": {"batch_size": 64},
    },
    "evaluate": {"few_up_to": 150, "many_above": 1000},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits-20": {"ingest": {"digits": {"n_max": 40, "imbalance_ratio": 20}}},
    "digits-50": {"ingest": {"digits": {"n_max": 50, "imbalance_ratio": 50}}, "evaluate": {"few_up_to": 3}},
    "cifar10-16px": SMALL_CIFAR,
}


class Trial:
    """The stages of dvc.yaml, run in a folder with params of its own."""

    def __init__(self, folder: Path, changes: dict[str, Any]) -> None:
        self.folder = folder
        self.stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
        self.params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        folder.mkdir(parents=True, exist_ok=True)
        self.change(changes)

    def change(self, changes: dict[str, Any]) -> None:
        """Changes params for the stages to come."""
        self.params = merged(self.params, changes)
        (self.folder / "params.yaml").write_text(yaml.safe_dump(self.params, sort_keys=False), encoding="utf-8")

    def run(self, *names: str) -> float:
        """Runs stages or commands; returns the seconds that they took."""
        start = time.monotonic()
        for name in names:
            command = self.stages[name]["cmd"] if name in self.stages else f"python -m pipeline {name}"
            words = [sys.executable, *shlex.split(command)[1:]]
            done = subprocess.run(
                words, cwd=self.folder, env=_environment(), capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"{name}: {done.stderr[-2000:]}")
        return time.monotonic() - start

    def json(self, path: str) -> Any:
        """What a stage wrote."""
        return json.loads((self.folder / path).read_text(encoding="utf-8"))


def _environment() -> dict[str, str]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**os.environ, **threads, "COUNTERWEIGHT_WORKERS": "1", "PYTHONPATH": str(ROOT)}


def one_seed(setting: str, seed: int, names: list[str], folder: Path) -> list[dict[str, Any]]:
    """All arms for one seed, which draws the split, the generators' weights and the classifiers'."""
    seeds = {name: {"seed": seed} for name in ("ingest", "train_source", "train_classifier", "train_generator")}
    trial = Trial(folder, merged(SETTINGS[setting], seeds | {"synthesize": {"seed": seed}, "augment": {"seed": seed}}))
    trial.change({"train_classifier": {"seeds": 1}, "evaluate": {"num_resamples": 500}})
    trial.run("scan", "ingest", "ingest_source", "analyze_bias", "augment", "train_source", "train_baseline")
    trial.run("complete_features", "train_augmented")
    gate = trial.params["synthesize"]["gate"]
    rows: list[dict[str, Any]] = []
    for name in names:
        trial.change({"train_generator": {"name": name}})
        trained = trial.run("train_generator")
        for on in (True, False):
            trial.params["synthesize"]["gate"] = gate if on else {}
            trial.change({})
            drawn = trial.run("synthesize")
            trial.run("train_completed", "evaluate")
            if not rows:
                rows += _others(trial, setting, seed)
            told = trial.json("results/synthesize/metrics.json")
            rows.append(
                {"setting": setting, "seed": seed, "arm": f"{name}, gate {'on' if on else 'off'}"}
                | _scores(trial, "completed", "results/train_completed/metrics.json")
                | {"refused": told["refused_share"], "short": len(told["short"])}
                | {"train_s": round(trained, 1), "synthesize_s": round(drawn, 1)}
            )
    shutil.rmtree(folder)
    return rows


def _others(trial: Trial, setting: str, seed: int) -> list[dict[str, Any]]:
    """The arms that synthesise nothing."""
    arms = {
        "cross-entropy": ("baseline_cross_entropy", "results/train_baseline/metrics.json"),
        "Balanced Softmax": ("baseline_balanced_softmax", "results/train_baseline/metrics.json"),
        "augmented": ("augmented", "results/train_augmented/metrics.json"),
        "features": ("feature_completed", "results/complete_features/metrics.json"),
    }
    return [{"setting": setting, "seed": seed, "arm": arm} | _scores(trial, *where) for arm, where in arms.items()]


def _scores(trial: Trial, arm: str, trained: str) -> dict[str, float]:
    """Balanced accuracy on validation and test images, and recall of the classes with few and many images (test)."""
    judged = trial.json("results/evaluate/metrics.json")["arms"][arm]
    loss = "cross_entropy" if arm.endswith("cross_entropy") else "balanced_softmax"
    loss = "completed" if arm == "feature_completed" else loss
    val = trial.json(trained)["val_balanced_accuracy"]
    groups = {name: group["mean"] for name, group in judged["groups"].items() if name in ("few", "many")}
    return {"val": val[loss]["mean"], "test": judged["balanced_accuracy"]["mean"]} | groups


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation over the seeds of each arm, and the gain over Balanced Softmax paired by seed."""
    lines = []
    for (setting, arm), part in rows.groupby(["setting", "arm"], sort=False):
        base = rows[(rows.setting == setting) & (rows.arm == "Balanced Softmax")].set_index("seed")
        gain = (part.set_index("seed")["test"] - base["test"]).dropna()
        line = {"setting": setting, "arm": arm, "n": len(part)}
        for name in ("val", "test", "few", "many"):
            line[name] = f"{100 * part[name].mean():.1f} ± {100 * part[name].std():.1f}"
        line["over Balanced Softmax"] = f"{100 * gain.mean():+.1f} ± {100 * gain.sem():.1f}"
        for name in ("refused", "train_s", "synthesize_s"):
            line[name] = "" if name not in part or part[name].isna().all() else f"{part[name].mean():.2f}"
        lines.append(line)
    return pd.DataFrame(lines)


def main() -> None:
    """Runs a setting and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.completion", description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--generators", nargs="+", default=["vae", "gan", "flow"])
    parser.add_argument("--parallel", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "completion.csv")
    given = parser.parse_args()
    with TemporaryDirectory() as folder, ThreadPoolExecutor(given.parallel) as pool:
        jobs = [
            pool.submit(one_seed, given.setting, seed, given.generators, Path(folder) / str(seed))
            for seed in range(given.seeds)
        ]
        rows = pd.DataFrame([row for job in jobs for row in job.result()])
    if given.out.exists():
        before = pd.read_csv(given.out)
        rows = pd.concat([before[before.setting != given.setting], rows])
    rows.to_csv(given.out, index=False)
    print(summary(rows[rows.setting == given.setting]).to_string(index=False))


if __name__ == "__main__":
    main()
