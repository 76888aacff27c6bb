from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

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


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train_source()
    chain.train_classifier("baseline", chain.train, losses=("cross_entropy", "balanced_softmax"))
    chain.train_classifier("arm", chain.train, chain.augmented)
    chain.train_classifier("completed", chain.train, chain.augmented, recipe={"schedule": {"steps": 40}})
    chain.train_classifier("feature_completed", chain.train, losses=("cross_entropy",), seed=3)
    return chain


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
