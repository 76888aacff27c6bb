"""Which means of completion help: generators x gate, each with its own split, generator and classifier seeds.

`python -m benchmarks.completion SETTING [--seeds N] [--generators vae gan flow]` runs the stages of dvc.yaml
in folders of their own and writes a line a seed and arm to benchmarks/completion.csv; a seed that is there already is
not run again, so that a killed run goes on. Choices are made on the validation column; the test column is there to be
reported. The peer is a plain diffusers training that is given as many seconds as the last generator named.
"""

import argparse
import json
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from benchmarks.completion_table import summary
from benchmarks.trial import Trial
from tests.tiny import DATA, merged

SMALL_CIFAR = {
    "ingest": {"source": str(DATA / "cifar10-lt100.zip"), "image_size": 16},
    "ingest_source": {"source": "none"},
    "analyze_bias": {"max_augment": 2, "max_synthesize": 3, "target": 0.1},
    "augment": {"policy": {"name": "standard"}, "limits": {"horizontal_flip": 0.5}},
    "train_generator": {
        "schedule": {"steps": 2000},
        "augmentation": {"rotation_degrees": 0, "horizontal_flip": 0.5, "shear": 0},
        "generators": {"gan": {"augment": ["colour", "translation", "cutout"]}},
    },
    "train_classifier": {
        "transfer": "structure",
        "recipe": {
            "schedule": {"steps": 1000, "batch_size": 64},
            "augmentation": {"rotation_degrees": 0, "horizontal_flip": 0.5, "shear": 0},
        },
        "added": {"batch_size": 32},
    },
    "synthesize": {"max_draws": 10, "sampling": {"flow": {"steps": 12}}},
    "complete_features": {"few_up_to": 150, "many_above": 1000, "target": 60},  # more hurts on validation images
    "evaluate": {"few_up_to": 150, "many_above": 1000},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "digits-20": {"ingest": {"digits": {"n_max": 40, "imbalance_ratio": 20}}},
    "digits-50": {"ingest": {"digits": {"n_max": 50, "imbalance_ratio": 50}}, "evaluate": {"few_up_to": 3}},
    "cifar10-16px": SMALL_CIFAR,
}
OUT = Path(__file__).parent / "completion.csv"


def one_seed(setting: str, seed: int, names: list[str], folder: Path) -> list[dict[str, Any]]:
    """All arms for one seed, which draws the split, the generators' weights and the classifiers'."""
    seeds = {name: {"seed": seed} for name in ("ingest", "train_source", "train_classifier", "train_generator")}
    trial = Trial(folder, merged(SETTINGS[setting], seeds | {"synthesize": {"seed": seed}, "augment": {"seed": seed}}))
    trial.change({"train_classifier": {"seeds": 1, "fresh": 0}, "evaluate": {"num_resamples": 500}})
    trial.run("scan", "ingest", "ingest_source", "analyze_bias", "augment", "train_source", "train_baseline")
    trial.run("complete_features", "train_augmented")
    gate = trial.params["synthesize"]["gate"]
    rows: list[dict[str, Any]] = []
    trained = 0.0
    for name in names:
        trial.change({"train_generator": {"name": name}})
        trained = trial.run("train_generator")
        for on in (True, False):
            trial.params["synthesize"]["gate"] = gate if on else {}
            trial.change({})
            drawn = trial.run("synthesize")
            rows.append({"arm": f"{name}, gate {'on' if on else 'off'}"} | _completed(trial, trained, drawn))
    drawn = trial.call(
        "python -m benchmarks.diffusers_peer --train data/real/train data/augmented --out data/synthetic"
        " --plan results/analyze_bias/plan.json --metrics results/synthesize/metrics.json"
        f" --seconds {trained} --seed {seed}"
    )
    rows.append({"arm": "diffusers (peer)"} | _completed(trial, trained, drawn - trained))
    rows = _others(trial) + rows
    shutil.rmtree(folder)
    return [{"setting": setting, "seed": seed} | row for row in rows]


def _completed(trial: Trial, trained: float, drawn: float) -> dict[str, Any]:
    """The row of the completed arm with the synthetic images that are there."""
    trial.run("train_completed", "evaluate")
    told = trial.json("results/synthesize/metrics.json")
    refused: Counter[str] = sum((Counter(one["refused"]) for one in told["classes"].values()), Counter())
    return (
        _scores(trial, "completed", "results/train_completed/metrics.json")
        | {"refused": told["refused_share"], "short": len(told["short"]), "reasons": json.dumps(refused)}
        | {name: told.get("mean_fidelity", {}).get(name) for name in ("frechet", "kernel", "precision", "recall")}
        | {"train_s": round(trained, 1), "synthesize_s": round(drawn, 1)}
    )


def _others(trial: Trial) -> list[dict[str, Any]]:
    """The arms that synthesise nothing."""
    arms = {
        "cross-entropy": ("baseline_cross_entropy", "results/train_baseline/metrics.json"),
        "Balanced Softmax": ("baseline_balanced_softmax", "results/train_baseline/metrics.json"),
        "augmented": ("augmented", "results/train_augmented/metrics.json"),
        "features": ("feature_completed", "results/complete_features/metrics.json"),
    }
    return [{"arm": arm} | _scores(trial, *where) for arm, where in arms.items()]


def _scores(trial: Trial, arm: str, trained: str) -> dict[str, float]:
    """Balanced accuracy on validation and test images, and recall of the classes with few and many images (test)."""
    judged = trial.json("results/evaluate/metrics.json")["arms"][arm]
    loss = "cross_entropy" if arm.endswith("cross_entropy") else "balanced_softmax"
    loss = "completed" if arm == "feature_completed" else loss
    val = trial.json(trained)["val_balanced_accuracy"]
    groups = {name: group["mean"] for name, group in judged["groups"].items() if name in ("few", "many")}
    return {"val": val[loss]["mean"], "test": judged["balanced_accuracy"]["mean"]} | groups


def main() -> None:
    """Runs a setting and prints its table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.completion", description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--generators", nargs="+", default=["vae", "gan", "flow"])
    parser.add_argument("--parallel", type=int, default=2)
    given = parser.parse_args()
    rows = pd.read_csv(OUT) if OUT.exists() else pd.DataFrame({"setting": [], "seed": []})
    there = set(rows[rows.setting == given.setting].seed)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(given.parallel) as pool:
        jobs = [
            pool.submit(one_seed, given.setting, seed, given.generators, Path(folder) / str(seed))
            for seed in range(given.seeds)
            if seed not in there
        ]
        for job in as_completed(jobs):
            rows = pd.concat([rows, pd.DataFrame(job.result())])
            rows.to_csv(OUT, index=False)
    print(summary(rows[rows.setting == given.setting]).to_string(index=False))


if __name__ == "__main__":
    main()
