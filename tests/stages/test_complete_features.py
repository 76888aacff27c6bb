import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.dataset import Dataset, PixelStore
from pipeline.errors import UserError
from pipeline.images import Shape
from pipeline.metrics.temperature import fit_temperature
from pipeline.params import build, read
from pipeline.stages import complete_features
from pipeline.stages.complete_features import Params, plan
from pipeline.training.inference import logits_and_features, recall_by_class
from pipeline.training.transfer import load
from pipeline.training.use import load_use
from tests.builders import digests
from tests.stages.chain import Chain
from tests.tiny import ROOT, bars, merged, settings, write, write_bars

NETWORKS = ("balanced_softmax/seed-0", "balanced_softmax/seed-1")
SMALL = {"few_up_to": 5, "many_above": 8, "target": 9, "samples": 4}  # of 9, 5 and 1 images the first is rich


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train_source()
    chain.train_classifier("baseline", chain.train, losses=("cross_entropy", "balanced_softmax"))
    return chain


def params(**changes: Any) -> Params:
    return settings(Params, "complete_features", **merged(SMALL, changes))


def complete(chain: Chain, arm: str = "completed_features", val: Path | None = None, **changes: Any) -> dict[str, Any]:
    out, metrics = chain.root / arm, chain.root / f"{arm}.json"
    given = params(**changes)
    complete_features.run(chain.root / "baseline", chain.train, val or chain.val, out, metrics, given)
    content: dict[str, Any] = json.loads(metrics.read_text(encoding="utf-8"))
    return content


def test_trunks_are_the_baseline_s_and_heads_are_new(chain: Chain) -> None:
    metrics = complete(chain)
    files = digests(chain.root / "completed_features")
    assert set(files) == {"task.json", "use.json", *(f"{name}.safetensors" for name in NETWORKS)}
    for name in NETWORKS:
        before, after = (load(chain.root / arm, name).state_dict() for arm in ("baseline", "completed_features"))
        changed = {key for key in before if not torch.equal(before[key], after[key])}
        assert changed == {"head.weight", "head.bias"}
    assert metrics["completed"] == {"bär 1": {"real": 5, "made": 4}, "bar 2": {"real": 1, "made": 4}}
    assert metrics["borrowed_from"] == ["bar 0"]


def test_the_figures_are_those_of_the_networks_on_the_validation_images(chain: Chain) -> None:
    metrics = complete(chain)
    store = PixelStore(Dataset.open(chain.val))
    for arm, head in (("baseline", "own"), ("completed_features", "completed")):
        recalls = [
            recall_by_class(logits_and_features(load(chain.root / arm, name), store.images())[0], store.labels, 3)
            for name in NETWORKS
        ]
        found = metrics["val_balanced_accuracy"][head]
        assert [found["mean"], found["seeds"]] == [pytest.approx(np.mean(recalls), abs=1e-6), 2]
        poor = [recall[1:].mean() for recall in recalls]
        assert metrics["val_recall_of_completed"][head]["mean"] == pytest.approx(np.mean(poor), abs=1e-6)
        assert metrics["val_recall_of_completed"][head]["std"] == pytest.approx(np.std(poor), abs=1e-6)
    assert list(metrics["val_balanced_accuracy"]) == ["own", "real_features", "completed"]


def test_temperatures_are_those_of_the_new_heads_on_the_validation_images(chain: Chain) -> None:
    val = write_bars(chain.root / "more" / "val", [10, 10, 10], split="val")
    metrics = complete(chain, val=val)
    store, folder = PixelStore(Dataset.open(val)), chain.root / "completed_features"
    use = load_use(folder)
    for name in NETWORKS:
        logits = logits_and_features(load(folder, name), store.images())[0].numpy()
        assert use.temperature(name) == pytest.approx(fit_temperature(logits, store.labels), rel=1e-4)
    assert metrics["calibration"]["balanced_softmax"]["temperature"] == use.temperature("balanced_softmax")
    assert use.shape == Shape(8, 1, "pad")


def test_the_other_loss_s_networks_are_taken_where_they_are_asked_for(chain: Chain) -> None:
    complete(chain, trunk="cross_entropy")
    assert set(digests(chain.root / "completed_features")) == {
        *("task.json", "use.json"),
        *(f"cross_entropy/seed-{number}.safetensors" for number in (0, 1)),
    }


@pytest.mark.parametrize("method", ["calibration", "diffusion"])
def test_equal_runs_write_equal_bytes_however_many_workers(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    changes = {"name": method, "methods": {"diffusion": {"updates": 20, "width": 16}}}
    one = complete(chain, "one", **changes)
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "2")
    assert complete(chain, "two", **changes) == one
    assert digests(chain.root / "one") == digests(chain.root / "two")
    complete(chain, "other", seed=5, **changes)
    assert digests(chain.root / "other")[f"{NETWORKS[0]}.safetensors"] not in digests(chain.root / "one").values()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"many_above": 50}, "no class is rich enough to borrow from; the heads stay as they are"),
        ({"few_up_to": 1, "target": 1}, "no class is poor; the heads stay as they are"),
    ],
)
def test_where_nothing_can_be_done_the_arm_is_the_baseline_and_says_so(
    chain: Chain, capsys: pytest.CaptureFixture[str], changes: dict[str, int], reason: str
) -> None:
    metrics = complete(chain, **changes)
    for name in NETWORKS:
        before, after = (load(chain.root / arm, name).state_dict() for arm in ("baseline", "completed_features"))
        assert all(torch.equal(before[key], after[key]) for key in before)
    assert metrics["completed"] == {}
    assert list(metrics["val_balanced_accuracy"]) == ["own"]
    assert capsys.readouterr().err.rstrip().endswith(f"complete_features: {reason}")


def test_without_validation_images_it_completes_and_has_no_figures(chain: Chain) -> None:
    metrics = complete(chain, val=write(chain.root / "empty", bars([]), [], split="val"))
    assert metrics["val_balanced_accuracy"] == metrics["val_recall_of_completed"] == {}
    assert len(metrics["completed"]) == 2


def test_the_plan_by_hand() -> None:
    wanted = plan(np.array([40, 20, 14, 4, 2, 0]), params(few_up_to=4, many_above=14, target=10, samples=100))
    assert wanted.rich.tolist() == [0, 1]
    assert wanted.samples.tolist() == [0, 0, 0, 100, 100, 0]  # what has no image at all cannot be completed
    assert wanted.weights.tolist() == pytest.approx([0, 0, 0, 0.06, 0.08, 0])
    assert not plan(np.array([40, 4]), params(few_up_to=4, many_above=14, target=4)).samples.any()
    assert not plan(np.array([14, 4]), params(few_up_to=4, many_above=14)).samples.any()


def test_a_baseline_that_has_not_run_is_named(chain: Chain) -> None:
    with pytest.raises(UserError, match=r"trunk must be a loss of the baseline \(balanced_softmax, .*\), got 'focal'$"):
        complete(chain, trunk="focal")
    shutil.rmtree(chain.root / "baseline")
    with pytest.raises(UserError, match=r"baseline: holds no classifiers; has train_baseline run\?$"):
        complete(chain)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            {"trunk": "balanced_sotfmax"},
            "params.yaml: complete_features.trunk: unknown loss 'balanced_sotfmax'; did you mean 'balanced_softmax'? ",
        ),
        ({"few_up_to": 20}, "params.yaml: complete_features.many_above must be at least few_up_to, 20, got 14"),
        ({"target": 0}, "params.yaml: complete_features.target should be greater than 0, got 0"),
        ({"head": {"decay": 0}}, "params.yaml: complete_features.head.decay should be greater than 0, got 0"),
        (
            {"methods": {"calibration": {"power": 2.0}}},
            "params.yaml: complete_features.methods.calibration.power should be less than or equal to 1, got 2.0",
        ),
        (
            {"name": "diffuson"},
            "params.yaml: complete_features.methods: unknown method 'diffuson'; did you mean 'diffusion'? Known: ",
        ),
    ],
)
def test_a_wrong_value_is_one_clear_line(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as caught:
        build(
            Params, merged(read(ROOT / "params.yaml")["complete_features"], changes), "params.yaml: complete_features"
        )
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)
