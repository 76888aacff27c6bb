from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.images import decode_png
from pipeline.stages import synthesize
from pipeline.stages.synthesize import load_generator
from pipeline.training.batches import to_uint8
from tests.builders import digests
from tests.stages.chain import Chain
from tests.tiny import NAMES

STRICT: dict[str, Any] = {
    "nearest_prototype": {"min_share": 1.0},
    "prototype_distance": {"quantile": 0.01},
    "near_copy": {"quantile": 1.0},
}


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train_source()
    chain.train_generator()
    chain.baseline()
    return chain


def test_the_plan_is_filled_and_rows_say_what_they_are(chain: Chain) -> None:
    data = Dataset.open(chain.synthesize(wanted=[0, 4, 8], weight=0.25))
    assert data.class_names == NAMES
    assert data.class_counts().tolist() == [0, 4, 8]
    rows = list(data.rows())
    assert {(row.origin, row.split, row.weight, row.parent_id) for row in rows} == {("synthetic", "train", 0.25, None)}
    assert all(row.quality is not None and 0 <= row.quality <= 1 for row in rows)
    assert len({row.seed for row in rows}) == len(rows)
    assert chain.json("synthetic")["accepted"] == 12
    assert chain.json("synthetic")["short"] == []


def test_an_image_can_be_made_again_from_its_label_and_seed(chain: Chain) -> None:
    rows = list(Dataset.open(chain.synthesize()).rows())
    labels, seeds = (np.array([getattr(row, name) for row in rows], dtype=np.int64) for name in ("label", "seed"))
    made = to_uint8(load_generator(chain.root / "generator").sample(labels, seeds))
    np.testing.assert_array_equal(made[:, 0], np.stack([decode_png(row.image) for row in rows]))


def test_equal_runs_write_equal_bytes_and_another_seed_others(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    one = digests(chain.synthesize("one"))
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "2")
    assert digests(chain.synthesize("again")) == one
    assert chain.text("one.json") == chain.text("again.json")
    assert chain.text("one.csv") == chain.text("again.csv")
    assert digests(chain.synthesize("other", seed=9)) != one


def test_more_images_of_one_class_change_none_that_were_there(chain: Chain) -> None:
    def seeds(folder: Path, label: int) -> list[int | None]:
        return [row.seed for row in Dataset.open(folder).rows() if row.label == label]

    few, more = chain.synthesize("few", wanted=[2, 3, 0]), chain.synthesize("more", wanted=[300, 3, 0])
    assert seeds(more, 0)[:2] == seeds(few, 0)
    assert len(seeds(more, 0)) == 300  # more than are drawn at once
    assert seeds(more, 1) == seeds(few, 1)


def test_a_class_that_cannot_be_filled_is_named_and_all_draws_are_accounted_for(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = chain.synthesize(wanted=[4, 4, 0], gate=STRICT, max_draws=2.5)
    metrics = chain.json("synthetic")
    assert set(metrics["short"]) == {"bar 0", "bär 1"}
    assert "class 'bär 1' falls short: " in capsys.readouterr().err
    for entry in metrics["classes"].values():
        assert entry["accepted"] + sum(entry["refused"].values()) == entry["drawn"] <= 2.5 * entry["wanted"]
    assert metrics["classes"]["bar 0"]["drawn"] == 10
    assert metrics["classes"]["bar 2"] == {"wanted": 0, "accepted": 0, "drawn": 0, "refused": {}}
    assert Dataset.open(folder).num_rows == metrics["accepted"]
    table = pd.read_csv(chain.root / "synthetic.csv")
    assert table.groupby("outcome")["images"].sum().loc["accepted"] == metrics["accepted"]
    assert table["images"].sum() == metrics["drawn"]
    assert len(table) == 3 * (1 + len(STRICT))


def test_a_refused_draw_moves_no_later_one(chain: Chain) -> None:
    """Draw k has the same seed whatever became of the draws before it."""
    free = Dataset.open(chain.synthesize("free", wanted=[600, 0, 0]))
    reference = synthesize._reference(Dataset.open(chain.train), chain.root / "baseline-folds")
    images = np.stack([pixels[None] for pixels in free.images()])
    half = np.median(reference.measure(images, free.labels).copy_distance)  # half of the draws lie nearer to a real one
    real = np.sort(reference.copy_distance)
    gate = {"near_copy": {"quantile": float(np.interp(half, real, np.linspace(0, 1, len(real))))}}
    gated = Dataset.open(chain.synthesize("gated", wanted=[290, 0, 0], gate=gate, max_draws=2))
    kept, seeds = ([row.seed for row in data.rows()] for data in (gated, free))
    entry = chain.json("gated")["classes"]["bar 0"]
    assert entry["drawn"] > 300  # more than are drawn at once
    assert entry["refused"]["near_copy"] > 200
    assert kept == [seed for seed in seeds if seed in set(kept)]


def test_an_empty_plan_writes_an_empty_data_set(chain: Chain) -> None:
    data = Dataset.open(chain.synthesize(wanted=[0, 0, 0]))
    assert (data.num_rows, data.class_names) == (0, NAMES)
    assert (chain.json("synthetic")["drawn"], chain.json("synthetic")["refused_share"]) == (0, 0.0)
    assert Dataset.open(chain.train, chain.root / "synthetic").num_rows == 15


@pytest.mark.parametrize(
    ("missing", "line"),
    [
        ("generator", r"generator: holds no generator \(.*\); has train_generator run\?$"),
        ("baseline-folds", r"baseline-folds: holds no fold classifiers; has train_baseline run\?$"),
    ],
)
def test_a_stage_that_has_not_run_is_named(chain: Chain, missing: str, line: str) -> None:
    (chain.root / missing).rename(chain.root / "elsewhere")
    with pytest.raises(UserError, match=line):
        chain.synthesize()
    assert not (chain.root / "synthetic").exists()


def test_the_number_of_threads_changes_nothing(chain: Chain) -> None:
    assert torch.get_num_threads() == 1
    one = digests(chain.synthesize("one", wanted=[60, 60, 60]))
    torch.set_num_threads(2)
    try:
        two = digests(chain.synthesize("two", wanted=[60, 60, 60]))
    finally:
        torch.set_num_threads(1)
    assert two == one
