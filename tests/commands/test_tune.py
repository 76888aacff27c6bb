import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.atomic import write_json
from pipeline.commands import tune
from pipeline.errors import UserError
from pipeline.params import read
from pipeline.tuning.choice import Judged, Way, choose, judge
from tests.stages.chain import Chain
from tests.tiny import NAMES, ROOT

SHORT = {"steps: 1000 ": "steps: 6 ", "steps: 2000 ": "steps: 6 ", "steps: 2500": "steps: 6"}
LESS, MORE, MOST = Way(0.5, 1.0, None), Way(1.0, 0.5, None), Way(1.0, 1.0, None)


def told(gain: float, error: float = 0.01, loss: float = 0.0, loss_error: float = 0.005) -> Judged:
    return Judged(0.5, 0.9, gain, error, loss, loss_error)


def test_the_least_way_within_a_standard_error_of_the_best() -> None:
    assert choose({LESS: told(0.02), MORE: told(0.025), MOST: told(0.03)}) == LESS
    assert choose({LESS: told(0.019), MORE: told(0.025), MOST: told(0.03)}) == MORE
    assert choose({LESS: told(0.0), MORE: told(0.01), MOST: told(0.03)}) == MOST


def test_none_at_all_unless_the_best_gains_more_than_its_standard_error() -> None:
    assert choose({LESS: told(0.009), MOST: told(0.01)}) is None
    assert choose({LESS: told(-0.02), MOST: told(-0.03)}) is None
    assert choose({LESS: told(0.009), MOST: told(0.011)}) == LESS


def test_what_costs_the_other_classes_more_than_it_brings_is_out() -> None:
    assert choose({LESS: told(0.02), MOST: told(0.06, loss=0.07)}) == LESS
    assert choose({MOST: told(0.06, loss=0.05)}) == MOST
    assert choose({MOST: told(0.02, loss=0.03)}) is None


def test_gains_are_means_over_classes_of_images_by_hand() -> None:
    labels = np.array([0, 0, 1, 1, 1, 1, 2])
    without = np.array([1, 1, 0, 0, 1, 1, 0], dtype=float)
    hits = np.array([1, 0, 1, 0, 1, 1, 1], dtype=float)
    judged = judge(hits, without, labels, np.array([False, True, True]), seed=0)
    assert judged.poor == pytest.approx((3 / 4 + 1) / 2)
    assert judged.rich == pytest.approx(1 / 2)
    assert judged.gain == pytest.approx((1 / 4 + 1) / 2)
    assert judged.loss == pytest.approx(1 / 2)
    # drawn from all the deviations from the class means, those of n images by sqrt(n / (n - 1))
    spread = np.array([0.75, -0.25, -0.25, -0.25, 0]) * np.array([*[np.sqrt(4 / 3)] * 4, 1])
    expected = np.sqrt(spread.var() * (1 / 4 + 1)) / 2
    assert judged.error == pytest.approx(expected, rel=0.1)


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train_source()
    plan = {
        name: {"real": 5, "augment": count, "synthesize": count} for name, count in zip(NAMES, (0, 2, 3), strict=True)
    }
    write_json(tmp_path / "plan.json", plan)
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for old, new in SHORT.items():
        assert old in text
        text = text.replace(old, new)
    text = re.sub(r"(?m)^  folds: 4 ", "  folds: 2 ", text)
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    return chain


def run(chain: Chain, **options: Any) -> Path:
    path = chain.root / "params.yaml"
    inputs = (chain.train, chain.val, chain.root / "plan.json", chain.root / "source", chain.source_domain)
    tune.run(path, *inputs, **({"folds": 2, "seeds": 1, "multiples": (1.0,), "weights": (1.0,)} | options))
    return path


def test_it_judges_each_way_writes_the_choice_and_keeps_all_else(
    chain: Chain, capfd: pytest.CaptureFixture[str]
) -> None:
    before = read(chain.root / "params.yaml")
    path = run(chain, multiples=(0.5, 1.0))
    lines = capfd.readouterr().err.splitlines()
    ways = [line for line in lines if line.startswith("multiple ")]
    assert [line.split(",")[0] for line in ways] == ["multiple 0.5", "multiple 1"]
    assert len([line for line in lines if line.endswith(" <- chosen")]) == 1
    after = read(path)
    assert after["synthesize"].pop("multiple") in (0.0, 0.5, 1.0)
    before["synthesize"].pop("multiple", None)
    assert after == before


def test_equal_seeds_judge_alike(chain: Chain, capfd: pytest.CaptureFixture[str]) -> None:
    told = []
    for _ in range(2):
        run(chain)
        told.append([line for line in capfd.readouterr().err.splitlines() if line.startswith("multiple ")])
    assert told[0] == told[1] != []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multiples": (0.0,)}, "tune: multiples must be > 0, got 0.0"),
        ({"multiples": (2.0,)}, "multiples must be one or more numbers above 0 and at most 1"),
        ({"folds": 1}, "tune: folds must be from 2 to 15 and seeds at least 1, got 1, 1"),
        ({"guidances": (2.0,)}, "tune: generator 'vae' has no guidance to tune"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_trained(
    chain: Chain, options: dict[str, Any], message: str
) -> None:
    before = (chain.root / "params.yaml").read_bytes()
    with pytest.raises(UserError, match=re.escape(message)):
        run(chain, **options)
    assert (chain.root / "params.yaml").read_bytes() == before


def test_a_plan_without_synthesis_leaves_nothing_to_tune(chain: Chain) -> None:
    write_json(chain.root / "plan.json", {name: {"real": 5, "augment": 1, "synthesize": 0} for name in NAMES})
    with pytest.raises(UserError, match="asks for no synthetic image"):
        run(chain)
