import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.corruptions import corrupted
from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.training.inference import logits_and_features
from pipeline.training.transfer import load
from tests.stages.chain import Chain
from tests.tiny import NAMES, bars, write

ARMS = ("baseline_cross_entropy", "baseline_balanced_softmax", "augmented", "completed", "feature_completed")
MODELS = (
    ("baseline", "cross_entropy"),
    ("baseline", "balanced_softmax"),
    ("arm", "balanced_softmax"),
    ("completed", "balanced_softmax"),
    ("feature_completed", "cross_entropy"),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = Chain(tmp_path_factory.mktemp("trained"))
    chain.train_source()
    chain.train_classifier("baseline", chain.train, losses=("cross_entropy", "balanced_softmax"), fresh="fresh")
    chain.train_classifier("arm", chain.train, chain.augmented)
    chain.train_classifier("completed", chain.train, chain.augmented, recipe={"schedule": {"steps": 40}})
    chain.train_classifier("feature_completed", chain.train, losses=("cross_entropy",), seed=3)
    return chain


@pytest.fixture
def chain(trained: Chain, tmp_path: Path) -> Chain:
    return trained.copy(tmp_path / "chain")


def test_the_figures_are_those_of_the_classifiers_on_the_test_images(chain: Chain) -> None:
    chain.evaluate()
    metrics = chain.json("evaluate")
    assert tuple(metrics["arms"]) == ARMS
    assert metrics["seeds"] == 2
    assert metrics["verdict"] in ("ship", "hold")
    store = PixelStore(Dataset.open(chain.test))
    for arm, (folder, loss) in zip(ARMS, MODELS, strict=True):
        networks = [load(chain.root / folder, f"{loss}/seed-{number}") for number in (0, 1)]
        predicted = [logits_and_features(network, store.images())[0].argmax(1).numpy() for network in networks]
        right = [labels == store.labels for labels in predicted]
        recall = [float(np.mean([r[store.labels == label].mean() for r in right])) for label in range(3)]
        found = metrics["arms"][arm]
        assert found["accuracy"]["mean"] == pytest.approx(np.mean(right), abs=1e-6)
        assert found["balanced_accuracy"]["mean"] == pytest.approx(np.mean(recall), abs=1e-6)
        assert [found["per_class_recall"][name]["mean"] for name in NAMES] == pytest.approx(recall, abs=1e-6)


def test_the_tables_say_the_same_as_the_metrics(chain: Chain) -> None:
    chain.evaluate()
    arms = chain.json("evaluate")["arms"]
    recall = pd.read_csv(chain.root / "evaluate.recall.csv")
    assert len(recall) == len(ARMS) * len(NAMES)
    for row in recall.to_dict("records"):
        entry = arms[row["arm"]]["per_class_recall"][row["class"]]
        assert [row["recall"], row["low"], row["high"]] == [entry["mean"], *entry["ci95"]]
    confusion = pd.read_csv(chain.root / "evaluate.confusion.csv")
    totals = confusion.groupby(["arm", "actual"])["images"].sum()
    for arm in ARMS:
        assert [totals[arm, name] for name in NAMES] == [6, 6, 3]
        right = confusion[(confusion["arm"] == arm) & (confusion["actual"] == confusion["predicted"])]
        assert right["images"].sum() / 15 == pytest.approx(arms[arm]["accuracy"]["mean"], abs=1e-4)


def test_the_headline_is_what_runs_are_compared_by(chain: Chain) -> None:
    chain.evaluate()
    whole, headline = chain.json("evaluate"), chain.json("evaluate.headline")
    assert headline["verdict"] == whole["verdict"]
    assert (
        headline["gain"]["over_balanced_softmax"] == whole["gain"]["over_balanced_softmax"]["balanced_accuracy"]["mean"]
    )
    assert set(headline["balanced_accuracy"]) == set(ARMS)


def test_the_arm_that_is_reported_apart_has_gains_of_its_own_and_no_say(chain: Chain) -> None:
    chain.evaluate()
    metrics = chain.json("evaluate")
    apart, arms = metrics["apart"]["feature_completed"], metrics["arms"]
    assert set(apart) == {"over_cross_entropy", "over_balanced_softmax"}
    for loss in ("cross_entropy", "balanced_softmax"):
        means = [arms[arm]["balanced_accuracy"]["mean"] for arm in ("feature_completed", f"baseline_{loss}")]
        assert apart[f"over_{loss}"]["balanced_accuracy"]["mean"] == pytest.approx(means[0] - means[1], abs=2e-6)
    (chain.root / "feature_completed").rename(chain.root / "away")
    chain.train_classifier("feature_completed", chain.train, recipe={"schedule": {"steps": 40}})
    chain.evaluate("other")
    other = chain.json("other")
    assert other["apart"] != metrics["apart"]
    for key in ("verdict", "reason", "harmed", "gain"):
        assert other[key] == metrics[key]


def test_equal_runs_write_equal_bytes_however_many_workers(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    chain.evaluate("one")
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "2")
    chain.evaluate("again")
    for suffix in ("json", "recall.csv", "confusion.csv"):
        assert chain.text(f"one.{suffix}") == chain.text(f"again.{suffix}")


def test_a_class_with_few_test_images_is_named_as_not_judged(chain: Chain) -> None:
    chain.evaluate()
    assert "Cannot be judged, with fewer than 5 test images: 'bar 2'." in chain.json("evaluate")["reason"]


def test_without_test_images_there_is_no_verdict(chain: Chain) -> None:
    empty = write(chain.root / "empty", bars([]), [], split="test")
    with pytest.raises(UserError, match=r"empty: holds no image; raise ingest\.test_fraction in params\.yaml or add"):
        chain.evaluate(test=empty)


def test_an_arm_that_has_not_run_is_named(chain: Chain) -> None:
    (chain.root / "completed").rename(chain.root / "elsewhere")
    with pytest.raises(UserError, match=r"completed: expected classifiers of one loss, found 0; has its stage run\?$"):
        chain.evaluate()
    (chain.root / "baseline" / "cross_entropy").rename(chain.root / "away")
    (chain.root / "elsewhere").rename(chain.root / "completed")
    with pytest.raises(UserError, match=r"cross_entropy: holds no classifiers; has its stage run\?$"):
        chain.evaluate()


def test_the_number_of_threads_changes_nothing(chain: Chain) -> None:
    assert torch.get_num_threads() == 1
    chain.evaluate("one")
    torch.set_num_threads(2)
    try:
        chain.evaluate("two")
    finally:
        torch.set_num_threads(1)
    assert chain.text("one.json") == chain.text("two.json")


def test_equal_classifiers_are_one_look_and_others_the_next(chain: Chain) -> None:
    for name, number in (("first", 1), ("again", 1)):
        chain.evaluate(name)
        assert chain.json(name)["look"]["number"] == number
    assert chain.text("first.json") == chain.text("again.json")
    ledger = chain.text("looks.json")

    (chain.root / "feature_completed").rename(chain.root / "away")  # the verdict does not look at this arm
    chain.train_classifier("feature_completed", chain.train, seed=9)
    chain.evaluate("apart", max_class_loss=0.5)
    assert chain.json("apart")["look"]["number"] == 1
    assert chain.text("looks.json") == ledger

    (chain.root / "completed").rename(chain.root / "before")
    chain.train_classifier("completed", chain.train, chain.augmented, seed=9)
    chain.evaluate("second")
    assert chain.json("second")["look"]["number"] == 2
    assert "at look 2)" in chain.json("second")["reason"]
    (chain.root / "completed").rename(chain.root / "after")
    (chain.root / "before").rename(chain.root / "completed")
    chain.evaluate("old")
    assert chain.json("old")["look"]["number"] == 1  # whatever has been looked at since


def test_a_renewed_test_split_begins_a_new_count(chain: Chain) -> None:
    chain.evaluate()
    (chain.root / "completed").rename(chain.root / "before")
    chain.train_classifier("completed", chain.train, chain.augmented, seed=9)
    chain.evaluate("renewed", test_split=2)
    assert chain.json("renewed")["look"]["number"] == 1
    assert "97.5 % intervals at look 1" in chain.json("renewed")["reason"]


def test_the_splits_are_told_by_the_digests_of_their_images(chain: Chain) -> None:
    chain.evaluate()
    splits = chain.json("evaluate")["splits"]
    assert {split: entry["images"] for split, entry in splits.items()} == {"train": 15, "val": 5, "test": 15}
    for split, entry in splits.items():
        ids = sorted(Dataset.open(chain.root / "real" / split).frame(["id"])["id"])
        assert entry["ids"] == f"sha256:{hashlib.sha256(chr(10).join(ids).encode()).hexdigest()}"


@pytest.mark.parametrize("where", ["train", "val", "augmented", "source_domain"])
def test_a_test_image_in_what_was_seen_is_refused(chain: Chain, where: str) -> None:
    folder = next(chain.root.rglob(where))
    stolen = Dataset.open(chain.test).shards[0]
    (folder / "leak.parquet").write_bytes(stolen.read_bytes())
    with pytest.raises(UserError, match=rf"real/test: 15 images of .*{where} are test images or made of them") as told:
        chain.evaluate()
    assert "\n" not in str(told.value)
    assert not (chain.root / "evaluate.json").exists()
    assert not (chain.root / "looks.json").exists()  # it was no look


def test_a_gain_that_a_better_loss_brought_is_held(chain: Chain) -> None:
    """The arms' own loss is better than the other two, here since only it is given time; more data bring nothing."""
    learned: dict[str, Any] = {"loss": "focal", "recipe": {"schedule": {"steps": 60}}}
    (chain.root / "completed").rename(chain.root / "away")
    chain.train_classifier("completed", chain.train, chain.augmented, **learned)
    with pytest.raises(UserError, match=r"baseline/focal: holds no classifiers; has its stage run\?$"):
        chain.evaluate()
    chain.train_classifier("alone", chain.train, **learned)
    shutil.copytree(chain.root / "alone" / "focal", chain.root / "baseline" / "focal")
    chain.evaluate(num_resamples=300)
    found = chain.json("evaluate")
    gains = {rival: gain["balanced_accuracy"] for rival, gain in found["gain"].items()}
    assert list(gains) == ["over_cross_entropy", "over_balanced_softmax", "over_focal", "over_augmented"]
    assert min(gains[f"over_{loss}"]["interval"][0] for loss in ("cross_entropy", "balanced_softmax")) > 0
    assert found["verdict"] == "hold"
    assert found["reason"].startswith("Not shown to beat focal: ")
    assert found["attribution"]["synthesis"]["without"] == "augmented"
    (chain.root / "alone").rename(chain.root / "used")
    shutil.rmtree(chain.root / "baseline" / "focal")
    chain.train_classifier("alone", chain.train, seed=9, **learned)
    shutil.copytree(chain.root / "alone" / "focal", chain.root / "baseline" / "focal")
    chain.evaluate("second", num_resamples=300)
    assert chain.json("second")["look"]["number"] == 2  # another set of classifiers was asked


def test_made_images_are_no_test_images(chain: Chain) -> None:
    with pytest.raises(UserError, match="is no real image but augmented; arms are judged on real images only"):
        chain.evaluate(test=chain.augmented)


def test_what_each_means_brought_is_told_from_the_arms(chain: Chain) -> None:
    chain.evaluate()
    metrics = chain.json("evaluate")
    found = metrics["attribution"]
    assert list(found) == ["augmentation", "synthesis", "feature completion", "transfer"]
    over = metrics["gain"]["over_augmented"]["balanced_accuracy"]
    assert found["synthesis"]["balanced_accuracy"] == {name: over[name] for name in ("mean", "ci95")}
    over = metrics["apart"]["feature_completed"]["over_cross_entropy"]["balanced_accuracy"]
    assert found["feature completion"]["without"] == "baseline_cross_entropy"
    assert found["feature completion"]["balanced_accuracy"] == {name: over[name] for name in ("mean", "ci95")}
    shutil.rmtree(chain.root / "fresh" / "balanced_softmax")
    chain.evaluate("without")
    assert "transfer" not in chain.json("without")["attribution"]


def test_arms_are_asked_about_corrupted_images_where_that_is_wanted(chain: Chain) -> None:
    chain.evaluate()
    assert chain.json("evaluate")["robustness"] is None
    chain.evaluate("worse", corruptions=["contrast", "gaussian_noise"])
    found = chain.json("worse")["robustness"]
    assert tuple(found) == ARMS
    store = PixelStore(Dataset.open(chain.test))
    recalls = []
    for number in (0, 1):
        network = load(chain.root / "completed", f"balanced_softmax/seed-{number}")
        predicted = logits_and_features(network, corrupted(store.images(), "contrast", 5, 0))[0].argmax(1).numpy()
        recalls += [(predicted == store.labels)[store.labels == label].mean() for label in range(3)]
    arm = found["completed"]
    assert arm["corruptions"]["contrast"]["by_severity"][4] == pytest.approx(np.mean(recalls), abs=1e-6)
    means = [np.mean(entry["by_severity"]) for entry in arm["corruptions"].values()]
    assert arm["balanced_accuracy"]["mean"] == pytest.approx(np.mean(means), abs=2e-6)
    with pytest.raises(UserError, match=r"unknown corruption 'fog'; known: brightness, contrast"):
        chain.evaluate("fog", corruptions=["fog"])
