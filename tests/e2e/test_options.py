"""Every way to train that params.yaml offers, through `dvc repro` up to the verdict: on digits, and on CIFAR-10-LT."""

import json
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from pipeline import params, registry
from tests.e2e.conftest import Project, checkout
from tests.tiny import DATA, ROOT, merged

pytestmark = [pytest.mark.e2e, pytest.mark.long]
ARCHIVE = DATA / "cifar10-lt100.zip"
STEPS = {"schedule": {"steps": 10}}
# Each option once, as many together as go together.
WAYS: dict[str, dict[str, Any]] = {
    "frozen features, mixed images": {
        "analyze_bias": {"strategy": "gain"},
        "augment": {"policy": {"name": "medical"}},
        "train_generator": {"name": "gan"},
        "train_classifier": {
            "loss": "logit_adjustment",
            "transfer": "feature",
            "feature": {"fit": "sgd"},
            "recipe": {"mixing": {"mixup": 0.4, "cutmix": 1.0, "probability": 0.5}},
        },
        "complete_features": {"name": "diffusion", "methods": {"diffusion": {"updates": 20}}},
        "evaluate": {"corruptions": ["gaussian_noise", "jpeg"]},
    },
    "in closed form": {
        "train_source": {"head": "mlp", "heads": {"mlp": {"hidden": [32, 16], "dropout": 0.1}}},
        "train_generator": {"name": "vae", "generators": {"vae": {"free_bits": 0.1, "beta": 2.0}}},
        "train_classifier": {"transfer": "feature", "loss": "class_balanced"},
    },
    "tuned finely": {
        "train_source": {"head": "cosine", "backbones": {"resnet": {"depth": 20}}},
        "train_generator": {"name": "flow", "generators": {"flow": {"class_balance": 0.1, "times": "uniform"}}},
        "train_classifier": {
            "loss": "ldam_drw",
            "fine_tuning": {"layer_decay": 0.7, "unfreeze_every": 0.1, "l2_sp": 0.01},
            "recipe": {
                "schedule": {"optimiser": "sgd", "lr": 0.05, "decay": "step", "decay_at": [0.8], "decay_factor": 0.1},
                "class_balance": 0.5,
            },
        },
        "synthesize": {"sampling": {"flow": {"steps": 4, "solver": "euler"}}},
    },
    "its own images without labels, an affine map": {
        "train_source": {"task": "simclr", "images": "real/train"},
        "train_classifier": {
            "loss": "focal",
            "fine_tuning": {"affine_rank": 2},
            "recipe": {"head_retraining": {"steps": 5}, "schedule": {"ema_decay": 0.9}},
        },
    },
    "the structure alone, views contrasted": {
        "train_source": {"task": "none"},
        "train_classifier": {
            "loss": "balanced_contrastive",
            "transfer": "structure",
            "structure": {"width": 8},
            "recipe": {"views": {"name": "trivial"}, "augmentation": {"name": "cifar"}},
        },
    },
    "a network of timm": {
        "train_source": {"backbone": "timm", "backbones": {"timm": {"model": "test_resnet", "image_size": 32}}},
    },
    "a ResNet for photographs": {
        "train_source": {"backbone": "resnet_imagenet", "backbones": {"resnet_imagenet": {"image_size": 32}}},
    },
    "Inception": {
        "train_source": {"backbone": "inception_v3", "backbones": {"inception_v3": {"image_size": 75}}},
        "train_classifier": {"seeds": 1, "folds": 2, "fresh": 0, "recipe": {"schedule": {"batch_size": 8}}},
    },
}


def tenth(source: Path, out: Path) -> Path:
    """A tenth of the training images of each class of CIFAR-10-LT, so as long-tailed, and ten test images each."""
    with zipfile.ZipFile(source) as whole:
        names = [name for name in whole.namelist() if name.endswith(".png")]
        counts = Counter(PurePosixPath(name).parent for name in names)
        taken = Counter[PurePosixPath]()
        with zipfile.ZipFile(out, "w") as part:
            for name in names:
                folder = PurePosixPath(name).parent
                most = 10 if "test" in folder.parts else max(5, counts[folder] // 10)
                if taken[folder] < most:
                    taken[folder] += 1
                    part.writestr(name, whole.read(name))
    return out


@pytest.fixture(scope="module", params=["digits", "cifar"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A checkout whose images are pinned; each way changes the params.yaml of its commit and runs what is stale."""
    root = tmp_path_factory.mktemp(request.param)
    project = checkout(root / "checkout")
    project.change({"train_source": {"recipe": STEPS}, "train_generator": STEPS, "train_classifier": {"recipe": STEPS}})
    project.change({"complete_features": {"few_up_to": 5, "many_above": 6}, "evaluate": {"num_resamples": 1000}})
    if request.param == "cifar":
        if not ARCHIVE.exists():
            pytest.skip(f"{ARCHIVE.name} is not in COUNTERWEIGHT_DATA")
        project.run("python", "-m", "pipeline", "configure", str(tenth(ARCHIVE, root / "cifar.zip")))
        project.change({"ingest_source": {"source": "none"}, "analyze_bias": {"max_synthesize": 1}})
    project.run("python", "-m", "pipeline", "scan")
    project.commit()
    return project


@pytest.mark.parametrize("way", WAYS)
def test_a_way_to_train_goes_up_to_the_verdict(project: Project, way: str) -> None:
    project.run("git", "checkout", "--quiet", "params.yaml")
    changes, given = WAYS[way], params.read(project.root / "params.yaml")
    if given["ingest_source"]["source"] == "none" and "task" not in changes.get("train_source", {}):
        changes = merged({"train_source": {"task": "simclr", "images": "real/train"}}, changes)
    project.change(changes)
    project.repro()
    metrics = json.loads((project.root / "results/evaluate/metrics.json").read_text(encoding="utf-8"))
    assert metrics["verdict"] in ("ship", "hold")
    assert {"completed", "feature_completed"} <= set(metrics["arms"])


def test_no_option_is_left_out() -> None:
    """What the folders hold, this file tries; what is the default is tried by every other run."""
    given = params.read(ROOT / "params.yaml")
    for way in WAYS.values():
        given = {section: _both(values, way.get(section, {})) for section, values in given.items()}
    words = {str(word) for section in given.values() for word in _leaves(section)}
    for package in ("backbones", "feature_completion", "generators", "heads", "losses", "source_tasks"):
        assert set(registry.names(f"pipeline.{package}")) - {"cross_entropy"} <= words, package
    assert {"parameter", "feature", "structure", "sgd", "step", "closed_form", "gain"} <= words


def _both(values: Any, changes: Any) -> Any:
    """Old and new values side by side."""
    if isinstance(values, dict) and isinstance(changes, dict):
        return {key: _both(values.get(key), changes.get(key)) for key in values | changes}
    return [values, changes]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part)
    else:
        yield value
