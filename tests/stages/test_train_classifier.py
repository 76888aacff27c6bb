import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.metrics.temperature import fit_temperature, pooled
from pipeline.stages import train_classifier
from pipeline.stages.train_classifier import Params
from pipeline.training import checkpoint
from pipeline.training.batches import Batch
from pipeline.training.classifier_task import ClassifierTask
from pipeline.training.folds import assign_folds
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import digest, load, load_task
from pipeline.training.use import load_use
from tests.builders import digests
from tests.stages.chain import STEPS, Chain
from tests.tiny import NAMES, bars, merged, settings, write, write_bars

ENDS = ("", "/seed-0", "/seed-1")  # of the mean of a loss's networks, and of each


def test_the_baseline_has_both_losses_and_the_folds(chain: Chain) -> None:
    folder = chain.baseline()
    losses = ("balanced_softmax", "cross_entropy")
    networks = {f"{loss}/seed-{n}.safetensors" for loss in losses for n in (0, 1)}
    assert set(digests(folder)) == {"task.json", "use.json", *networks}
    assert set(digests(chain.root / "baseline-folds")) == {
        *("task.json", "folds.json", "fold-0.safetensors", "fold-1.safetensors")
    }
    assert load_task(folder).class_names == NAMES
    metrics = chain.json("baseline")
    assert set(metrics["val_balanced_accuracy"]) == set(losses)
    assert all(figures["seeds"] == 2 for figures in metrics["val_balanced_accuracy"].values())
    assert metrics["weights"]["fresh"] == 0
    curves = pd.read_csv(chain.root / "baseline.csv")
    assert set(curves["classifier"]) == {f"{loss}/seed-{n}" for loss in losses for n in (0, 1)}
    assert np.isfinite(curves["loss"]).all()


def test_a_loss_that_is_named_twice_is_trained_under_once(chain: Chain) -> None:
    named = ("cross_entropy", "focal", "focal")
    weights = digests(chain.train_classifier("baseline", chain.train, losses=named, loss="focal", seeds=1))
    alone = digests(chain.train_classifier("alone", chain.train, losses=("focal",), seeds=1))
    assert sorted(weights) == [*(f"{loss}/seed-0.safetensors" for loss in named[:2]), "task.json", "use.json"]
    assert weights["focal/seed-0.safetensors"] == alone["focal/seed-0.safetensors"]


def test_equal_runs_write_equal_bytes_however_many_workers(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.baseline("one")
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "2")
    chain.baseline("two")
    for name in ("{}", "{}-folds"):
        assert digests(chain.root / name.format("one")) == digests(chain.root / name.format("two"))
    for name in ("{}.json", "{}.csv"):
        assert chain.text(name.format("one")) == chain.text(name.format("two"))


def test_seeds_differ_from_each_other_and_another_seed_changes_them_all(chain: Chain) -> None:
    one, other = digests(chain.baseline("one")), digests(chain.baseline("other", seed=7))
    weights = {name: value for name, value in one.items() if name.endswith(".safetensors")}
    assert len(set(weights.values())) == len(weights) == 4
    assert all(other[name] != value for name, value in weights.items())


def test_an_arm_without_added_images_is_the_baseline_itself(chain: Chain) -> None:
    """The arms differ in their data alone: same recipe, transfer, seeds and updates."""
    empty = write(chain.root / "empty", bars([]), [])
    baseline = digests(chain.baseline())
    for name, train in {"alone": (chain.train,), "with_nothing": (chain.train, empty)}.items():
        arm = digests(chain.train_classifier(name, *train))
        networks = {f"balanced_softmax/seed-{number}.safetensors" for number in (0, 1)}
        assert set(arm) == {"task.json", "use.json", *networks}
        assert all(baseline[file] == arm[file] for file in ("task.json", *networks))


def test_added_images_their_weights_and_their_share_of_the_loss_count(chain: Chain) -> None:
    heavier = write_bars(chain.root / "w" / "augmented", [0, 2, 3], origin="augmented", weight=0.5)
    rows = list(Dataset.open(heavier).rows())
    assert {row.weight for row in rows} == {0.5}
    runs = [
        chain.train_classifier("none", chain.train),
        chain.train_classifier("added", chain.train, chain.augmented),
        chain.train_classifier("weightier", chain.train, chain.augmented, added={"weight": 0.9}),
        chain.train_classifier("more", chain.train, chain.augmented, added={"batch_size": 5}),
        chain.train_classifier("twice", chain.train, chain.augmented, heavier),
    ]
    assert len({digests(folder)["balanced_softmax/seed-0.safetensors"] for folder in runs}) == 5


def test_a_fold_classifier_never_sees_its_fold(chain: Chain) -> None:
    labels = Dataset.open(chain.train).labels
    images = bars(labels, seed=sum(b"train"))
    changed = images.copy()
    changed[0] = 255 - changed[0]
    before = chain.train
    chain.train = write(chain.root / "changed", changed, labels)
    chain.baseline("after")
    chain.train = before
    chain.baseline("before")
    old, new = digests(chain.root / "before-folds"), digests(chain.root / "after-folds")
    left_out_of = assign_folds(labels, 2, settings(Params, "train_classifier").seed)[0]
    same = [name for name in old if name.startswith("fold-") and old[name] == new[name]]
    assert same == [f"fold-{left_out_of}.safetensors"]


def test_temperatures_are_fitted_on_the_validation_images_and_on_no_others(chain: Chain) -> None:
    val = write_bars(chain.root / "more" / "val", [10, 10, 10], split="val")
    folder = chain.baseline(val=val)
    use, store = load_use(folder), PixelStore(Dataset.open(val))
    assert (use.calibration, use.validation_images) == ("temperature", 30)
    for loss in ("cross_entropy", "balanced_softmax"):
        names = [f"{loss}/seed-{number}" for number in (0, 1)]
        logits = [logits_and_features(load(folder, name), store.images())[0].numpy() for name in names]
        expected = [fit_temperature(values, store.labels) for values in (*logits, pooled(np.stack(logits)))]
        assert [use.temperature(name) for name in (*names, loss)] == pytest.approx(expected, rel=1e-4)
        told = chain.json("baseline")["calibration"][loss]
        assert told["temperature"] == use.temperature(loss)
    assert set(use.temperatures) == {f"{loss}{end}" for loss in chain.json("baseline")["calibration"] for end in ENDS}


def test_the_model_says_how_its_images_were_prepared(chain: Chain) -> None:
    folder = chain.train_classifier("arm", chain.train)
    assert load_use(folder).shape == Shape(8, 1, "pad")


def test_with_few_validation_images_there_is_no_calibration_and_it_says_so(chain: Chain) -> None:
    folder = chain.train_classifier("arm", chain.train)  # 5 validation images
    use = load_use(folder)
    assert (use.calibration, use.validation_images, use.temperatures) == ("none", 5, {})
    assert use.temperature("balanced_softmax") == 1.0
    assert chain.json("arm")["calibration"] == "none"


def test_no_source_domain_and_no_validation_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path).without_source_domain()
    chain.train_source()
    empty = write(tmp_path / "empty", bars([]), [], split="val")
    chain.train_classifier("arm", chain.train, val=empty)
    metrics = chain.json("arm")
    assert metrics["val_balanced_accuracy"] == {}
    assert metrics["weights"]["taken"] == metrics["weights"]["adapted"] == 0


def test_coloured_images_start_from_a_grey_source(chain: Chain) -> None:
    chain.train = write_bars(chain.root / "colour" / "train", [5, 3, 1], (3, 12, 12))
    chain.val = write_bars(chain.root / "colour" / "val", [1, 1, 1], (3, 12, 12))
    chain.train_classifier("arm", chain.train)
    assert chain.json("arm")["weights"]["adapted"] == 1
    assert load_task(chain.root / "arm").in_channels == 3


class Killed(BaseException):
    """Stands in for the end of the process."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"loss": "balanced_contrastive"},
        {"recipe": {"head_retraining": {"steps": 2}}},
        {"fine_tuning": {"unfreeze_every": 0.2, "layer_decay": 0.5, "affine_rank": 2}},
        {"fine_tuning": {"l2_sp": 0.1}, "recipe": {"schedule": {"ema_decay": 0.5}}},
    ],
)
def test_killed_half_way_it_goes_on_and_what_was_done_is_not_done_again(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL_S", 0.0)
    changes = merged({"seeds": 3, "recipe": {"schedule": STEPS | {"steps": 7}}}, changes)
    whole = digests(chain.train_classifier("whole", chain.train, chain.augmented, **changes))
    asked: list[tuple[int, float]] = []
    loss = ClassifierTask.loss

    def counted(self: ClassifierTask, player: str, batch: Batch, progress: float) -> Tensor:
        if player == "classifier":
            asked.append((self._seed, round(7 * progress)))
        return loss(self, player, batch, progress)

    def dies(self: ClassifierTask, player: str, batch: Batch, progress: float) -> Tensor:
        if len(asked) == 10:
            raise Killed
        return counted(self, player, batch, progress)

    monkeypatch.setattr(ClassifierTask, "loss", dies)
    with pytest.raises(Killed):
        chain.train_classifier("killed", chain.train, chain.augmented, **changes)
    assert not (chain.root / "killed").exists()
    first, second = dict.fromkeys(seed for seed, _ in asked)

    asked.clear()
    monkeypatch.setattr(ClassifierTask, "loss", counted)
    killed = digests(chain.train_classifier("killed", chain.train, chain.augmented, **changes))
    assert [step for seed, step in asked if seed == second] == [3, 4, 5, 6]
    assert first not in {seed for seed, _ in asked}
    assert killed == whole
    assert chain.text("killed.csv") == chain.text("whole.csv")
    assert chain.text("killed.json") == chain.text("whole.json")
    assert not list(Path(os.environ["COUNTERWEIGHT_CHECKPOINTS"]).iterdir())


def test_other_work_has_another_checkpoint(chain: Chain) -> None:
    params = settings(Params, "train_classifier")
    inputs = ["a", digest(chain.root / "source")]
    work: list[tuple[str, int, int | None, Params, list[str]]] = [
        ("focal", 1, None, params, inputs),
        ("cross_entropy", 1, None, params, inputs),
        ("focal", 2, None, params, inputs),
        ("focal", 1, 0, params, inputs),
        ("focal", 1, 0, settings(Params, "train_classifier", folds=3), inputs),
        ("focal", 1, None, settings(Params, "train_classifier", added={"weight": 0.7}), inputs),
        ("focal", 1, None, settings(Params, "train_classifier", losses={"focal": {"gamma": 0.5}}), inputs),
        ("focal", 1, None, params, ["b", inputs[1]]),
        ("focal", 1, None, params, ["a", digest(chain.train_source("other", seed=9))]),
    ]
    assert len({checkpoint_of(*each) for each in work}) == len(work)
    more = settings(Params, "train_classifier", seeds=9)  # that others are trained too changes none
    assert checkpoint_of("focal", 1, None, params, inputs) == checkpoint_of("focal", 1, None, more, inputs)


def checkpoint_of(loss: str, seed: int, left_out: int | None, params: Params, inputs: list[str]) -> Path:
    job = train_classifier.Job(group="arm", name="any", loss=loss, seed=seed, left_out=left_out, params=params)
    return train_classifier._checkpoint(job, inputs).path


def test_a_training_too_short_for_a_checkpoint_leaves_none(chain: Chain) -> None:
    chain.train_classifier("arm", chain.train)
    assert not list(Path(os.environ["COUNTERWEIGHT_CHECKPOINTS"]).glob("*"))


def test_data_sets_of_other_classes_are_refused(chain: Chain) -> None:
    other = write(chain.root / "other", bars([0, 1]), [0, 1], ("bar 0", "bär 1"))
    with pytest.raises(UserError, match=r"^data sets with different classes cannot be joined: ") as caught:
        chain.train_classifier("arm", chain.train, other)
    assert "\n" not in str(caught.value)
    assert not (chain.root / "arm").exists()


def test_without_a_source_model_it_says_which_stage_is_missing(tmp_path: Path) -> None:
    chain = Chain(tmp_path)
    with pytest.raises(UserError, match=r"source: holds no model .*has its stage run\?$"):
        chain.train_classifier("arm", chain.train)


def test_classifiers_without_the_sources_weights_are_the_first_seeds_again(chain: Chain) -> None:
    both = ("cross_entropy", "balanced_softmax")
    chain.train_classifier("baseline", chain.train, losses=both, fresh="fresh", seeds=2)
    chain.train_classifier("anew", chain.train, losses=both, transfer="structure")
    names = {f"balanced_softmax/seed-{number}.safetensors" for number in (0, 1)}  # params.yaml asks for more than seeds
    fresh, anew, baseline = (digests(chain.root / name) for name in ("fresh", "anew", "baseline"))
    assert set(fresh) == {"task.json", *names}
    for name in names:
        assert fresh[name] == anew[name] != baseline[name]


def test_without_weights_to_take_there_is_nothing_to_tell(chain: Chain) -> None:
    chain.train_classifier("anew", chain.train, losses=("cross_entropy",), fresh="fresh", transfer="structure")
    assert set(digests(chain.root / "fresh")) == {"task.json"}
    chain.without_source_domain().train_source()
    chain.train_classifier("baseline", chain.train, losses=("cross_entropy",), fresh="none")
    assert set(digests(chain.root / "none")) == {"task.json"}
