import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.optimize import bisect

from pipeline import pace, params, registry
from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.gate._usual import ANY
from pipeline.images import decode_png
from pipeline.stages import synthesize
from pipeline.stages.synthesize import load_generator
from pipeline.synthesis import recipe
from tests.builders import digests
from tests.stages.chain import Chain
from tests.tiny import NAMES, ROOT, write_bars

STRICT: dict[str, Any] = {
    "nearest_prototype": {"min_share": 1.0, "quantile": 1},
    "prototype_distance": {"lower": 0, "upper": 0.01},
    "unlike_real": {"quantile": 0.01},
}
DEFAULTS: dict[str, Any] = params.read(ROOT / "params.yaml")["synthesize"]["gate"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERWEIGHT_WORKERS", "1")
        for name in ("CACHE", "CHECKPOINTS"):
            patch.setenv(f"COUNTERWEIGHT_{name}", str(tmp_path_factory.mktemp(name)))
        chain = Chain(tmp_path_factory.mktemp("chain"))
        chain.train_source()
        chain.train_generator()
        chain.baseline()
    return chain


@pytest.fixture
def chain(trained: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    """A copy of its own for each test."""
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    own = copy.copy(trained)
    own.root = tmp_path / "chain"
    shutil.copytree(trained.root, own.root)
    own.train = own.root / trained.train.relative_to(trained.root)
    return own


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


def test_equal_runs_write_equal_bytes_and_another_seed_others(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = {"near_duplicate": DEFAULTS["near_duplicate"]}
    one = digests(chain.synthesize("one", gate=gate))
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "2")
    assert digests(chain.synthesize("again", gate=gate)) == one
    for suffix in ("json", "csv", "fidelity.csv", "parquet"):
        assert (chain.root / f"one.{suffix}").read_bytes() == (chain.root / f"again.{suffix}").read_bytes()
    assert digests(chain.synthesize("other", gate=gate, seed=9)) != one


def test_more_images_of_one_class_change_none_that_were_there(chain: Chain) -> None:
    def seeds(folder: Path, label: int) -> list[int | None]:
        return [row.seed for row in Dataset.open(folder).rows() if row.label == label]

    checks = {"near_duplicate": {"quantile": 0.9}}
    few = chain.synthesize("few", wanted=[2, 3, 0], gate=checks)
    more = chain.synthesize("more", wanted=[300, 3, 0], gate=checks, max_draws=2)
    assert seeds(more, 0)[:2] == seeds(few, 0)
    assert chain.json("more")["classes"]["bar 0"]["drawn"] > 128  # more than are drawn at once
    assert seeds(more, 1) == seeds(few, 1)


def test_a_class_that_cannot_be_filled_is_named_and_all_draws_are_accounted_for(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = chain.synthesize(wanted=[4, 4, 0], gate=STRICT, max_draws=2.5)
    metrics = chain.json("synthetic")
    assert set(metrics["short"]) == {"bar 0", "bär 1"}
    told = capsys.readouterr().err
    assert "class 'bär 1' falls short: " in told
    worst = max(metrics["classes"]["bar 0"]["refused"].items(), key=lambda item: item[1])
    assert f"class 'bar 0' falls short: 0 of 4 after 10 draws; {worst[0]} refused {worst[1]}\n" in told
    for entry in metrics["classes"].values():
        assert entry["accepted"] + sum(entry["refused"].values()) == entry["drawn"] <= 2.5 * entry["wanted"]
    assert metrics["classes"]["bar 0"]["drawn"] == 10
    none = {"wanted": 0, "accepted": 0, "drawn": 0, "refused": {}}
    assert {key: metrics["classes"]["bar 2"][key] for key in none} == none
    assert Dataset.open(folder).num_rows == metrics["accepted"]
    table = pd.read_csv(chain.root / "synthetic.csv")
    assert table.groupby("outcome")["images"].sum().loc["accepted"] == metrics["accepted"]
    assert table["images"].sum() == metrics["drawn"]
    assert len(table) == 3 * (1 + len(STRICT))


def test_another_generator_is_advised_only_where_most_is_refused(
    chain: Chain, capsys: pytest.CaptureFixture[str]
) -> None:
    advice = r"\d+% of what the vae drew was refused; other images may come of flow or gan as "
    for gate, advised in (({}, False), (STRICT, True)):
        chain.synthesize(wanted=[4, 4, 0], gate=gate, max_draws=2.5)
        assert bool(re.search(advice, capsys.readouterr().err)) == advised


def halving(chain: Chain) -> dict[str, Any]:
    """A gate that refuses about half of the draws for class 0: those further than the median from every real image."""
    free = Dataset.open(chain.synthesize("halving", wanted=[200, 0, 0]))
    reference = synthesize._reference(Dataset.open(chain.train), chain.root / "baseline-folds")
    images = np.stack([pixels[None] for pixels in free.images()])
    half = float(np.median(reference.measure(images, free.labels).copied.pixel))
    quantile = bisect(lambda share: reference.usual_pixel.quantile(ANY, share) - half, 0.001, 0.999)
    return {"unlike_real": {"quantile": quantile}}


def test_a_refused_draw_moves_no_later_one(chain: Chain) -> None:
    """Draw k has the same seed whatever became of the draws before it."""
    free = Dataset.open(chain.synthesize("free", wanted=[600, 0, 0]))
    gated = Dataset.open(chain.synthesize("gated", wanted=[200, 0, 0], gate=halving(chain), max_draws=3))
    kept, seeds = ([row.seed for row in data.rows()] for data in (gated, free))
    entry = chain.json("gated")["classes"]["bar 0"]
    assert entry["drawn"] > 256  # more than are drawn at once
    assert entry["refused"]["unlike_real"] > 50
    assert kept == [seed for seed in seeds if seed in set(kept)]


# ------------------------------------------------------------ what was drawn, and how to draw it again


def test_every_candidate_has_its_reason_its_measures_and_its_seed(chain: Chain) -> None:
    folder = chain.synthesize(wanted=[60, 0, 4], gate=halving(chain))
    table = pd.read_parquet(chain.root / "synthetic.parquet")
    metrics = chain.json("synthetic")
    assert len(table) == metrics["drawn"]
    assert table.groupby("class").size().to_dict() == {
        name: entry["drawn"] for name, entry in metrics["classes"].items() if entry["drawn"]
    }
    accepted = table[table["outcome"] == "accepted"]
    assert accepted["seed"].tolist() == [row.seed for row in Dataset.open(folder).rows()]
    assert set(table["outcome"]) == {"accepted", "unlike_real"}
    assert table[table["class"] == "bar 0"]["number"].tolist() == list(range(metrics["classes"]["bar 0"]["drawn"]))
    assert set(table["nearest_real"]) <= {row.id for row in Dataset.open(chain.train).rows()}
    refused = table[(table["outcome"] == "unlike_real") & (table["class"] == "bar 0")]
    assert refused["pixel_distance"].min() > accepted["pixel_distance"].max()
    # a refused image can be looked at: drawn again, it measures what is written
    model, how = load_generator(chain.root / "generator"), recipe.read(folder, chain.root / "generator")
    again = recipe.draw(model, np.zeros(len(refused), np.int64), refused["seed"].to_numpy(), how)
    reference = synthesize._reference(Dataset.open(chain.train), chain.root / "baseline-folds")
    measures = reference.measure(again, np.zeros(len(refused), np.int64))
    for name, values in (
        ("prototype_distance", measures.distance),
        ("own_share", measures.own_share),
        ("detour", measures.detour),
        ("agreement", measures.agreement),
        ("probability", np.exp(-measures.surprise)),
        ("odds", measures.odds),
        ("pixel_distance", measures.copied.pixel),
        ("feature_distance", measures.copied.feature),
    ):
        assert refused[name].to_numpy() == pytest.approx(values, rel=1e-3, abs=1e-5), name


def test_an_image_can_be_made_again_from_the_recipe_and_its_row(chain: Chain) -> None:
    folder = chain.synthesize(gate={"near_duplicate": {"quantile": 0.02}})
    rows = list(Dataset.open(folder).rows())
    model, how = load_generator(chain.root / "generator"), recipe.read(folder, chain.root / "generator")
    assert how.generator == model.name
    assert how.class_names == list(NAMES)
    one = rows[len(rows) // 2]
    np.testing.assert_array_equal(recipe.rebuild([one], model, how)[0, 0], decode_png(one.image))
    made = recipe.rebuild(rows, model, how)
    np.testing.assert_array_equal(made[:, 0], np.stack([decode_png(row.image) for row in rows]))


def test_the_recipe_holds_how_images_were_drawn_whatever_params_yaml_says_now(chain: Chain) -> None:
    name = load_generator(chain.root / "generator").name
    sampling = dict(params.read(ROOT / "params.yaml")["synthesize"]["sampling"][name])
    changed = {key: value / 2 if isinstance(value, float) else value for key, value in sampling.items()}
    folder = chain.synthesize("halved", sampling={name: changed})
    assert recipe.read(folder, chain.root / "generator").sampling == changed != sampling
    assert digests(folder) != digests(chain.synthesize("usual"))


def test_images_of_another_generator_are_not_made_again(chain: Chain) -> None:
    folder = chain.synthesize()
    weights = chain.root / "generator" / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(
        UserError, match=r"recipe\.json: its images come from a generator with sha256 \w{64}, not \w{64}$"
    ):
        recipe.read(folder, chain.root / "generator")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, r"recipe\.json: is not there; its images were not made by the stage synthesize$"),
        ("{", r"recipe\.json: is no JSON \(.*\)$"),
        ('{"class_names": [], "generator": "vae", "sampling": {}}', r"recipe\.json\.generator_sha256: is missing$"),
    ],
)
def test_a_recipe_that_cannot_be_read_is_one_line(tmp_path: Path, content: str | None, told: str) -> None:
    if content is not None:
        (tmp_path / recipe.FILE).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=told) as caught:
        recipe.read(tmp_path, tmp_path)
    assert "\n" not in str(caught.value)


# ------------------------------------------------------------ figures


def test_figures_of_the_accepted_images_are_written_class_by_class(chain: Chain) -> None:
    chain.synthesize(wanted=[30, 20, 4])
    table = pd.read_csv(chain.root / "synthetic.fidelity.csv").set_index("class")
    assert table[["real", "synthetic"]].to_numpy().tolist() == [[9, 30], [5, 20], [1, 4]]
    assert list(table.index) == list(NAMES)
    assert table.loc["bar 0", ["frechet", "kernel", "authenticity", "vendi", "relative_vendi"]].notna().all()
    assert (table["kernel_low"] <= table["kernel"])[:2].all()
    assert (table["kernel"] <= table["kernel_high"])[:2].all()
    few = table.loc["bar 2"].drop(["real", "synthetic", "vendi"])
    assert few.isna().all()  # one real image: no figure
    means = chain.json("synthetic")["mean_fidelity"]
    assert means["kernel"] == pytest.approx(table["kernel"].mean(), abs=1e-5)
    assert means["vendi"] == pytest.approx(table["vendi"].mean(), abs=1e-5)
    assert not {"kernel_low", "real", "synthetic"} & set(means)


def test_the_time_an_accepted_image_took_is_noted(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([100.0, 106.0])
    monkeypatch.setattr(synthesize, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    chain.synthesize(wanted=[20, 0, 0], gate=halving_quietly(chain, monkeypatch))
    accepted = chain.json("synthetic")["accepted"]
    assert chain.json("synthetic")["drawn"] > accepted == 20
    assert pace.seconds_for("synthesize", 20) == pytest.approx(6.0)


def halving_quietly(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    with monkeypatch.context() as patch:
        patch.setattr(synthesize, "time", time)
        return halving(chain)


# ------------------------------------------------------------ too little of everything


def test_an_empty_plan_writes_an_empty_data_set(chain: Chain) -> None:
    data = Dataset.open(chain.synthesize(wanted=[0, 0, 0], gate=DEFAULTS))
    assert (data.num_rows, data.class_names) == (0, NAMES)
    assert (chain.json("synthetic")["drawn"], chain.json("synthetic")["refused_share"]) == (0, 0.0)
    assert set(chain.json("synthetic")["mean_fidelity"].values()) == {None}
    assert Dataset.open(chain.train, chain.root / "synthetic").num_rows == 15
    empty = pd.read_parquet(chain.root / "synthetic.parquet")
    chain.synthesize("some", wanted=[1, 0, 0])
    assert (len(empty), list(empty)) == (0, list(pd.read_parquet(chain.root / "some.parquet")))
    assert len(pd.read_csv(chain.root / "synthetic.fidelity.csv")) == 0


def test_all_checks_of_params_yaml_take_a_class_with_one_image(chain: Chain) -> None:
    chain.synthesize(wanted=[3, 3, 3], gate=DEFAULTS, max_draws=30)
    metrics = chain.json("synthetic")
    assert metrics["classes"]["bar 2"]["drawn"] > 0
    assert metrics["unjudged"] == []


def test_a_class_that_no_fold_classifier_saw_is_told(chain: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    chain.train = write_bars(chain.root / "poor", [9, 5, 0])
    chain.baseline()
    capsys.readouterr()
    folder = chain.synthesize(wanted=[0, 0, 3], gate={"confidence": DEFAULTS["confidence"]})
    assert chain.json("synthetic")["unjudged"] == ["bar 2"]
    line = "synthesize: no fold classifier saw class 'bar 2'; its images are only compared with others\n"
    assert line in capsys.readouterr().err
    assert [row.quality for row in Dataset.open(folder).rows()] == [None] * 3
    assert pd.read_parquet(chain.root / "synthetic.parquet")["prototype_distance"].isna().all()


def test_a_data_set_of_one_image_a_class_and_of_fewer_images_than_classes_is_judged(chain: Chain) -> None:
    for counts in ([1, 1, 1], [1, 1, 0]):
        chain.train = write_bars(chain.root / f"{sum(counts)} images", counts)
        chain.baseline()
        chain.synthesize(wanted=[2, 2, 2], gate=DEFAULTS, max_draws=5)
        assert chain.json("synthetic")["drawn"] > 0


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


# ------------------------------------------------------------ machines


def test_the_number_of_threads_changes_nothing(chain: Chain) -> None:
    assert torch.get_num_threads() == 1
    one = digests(chain.synthesize("one", wanted=[60, 60, 60]))
    torch.set_num_threads(2)
    try:
        two = digests(chain.synthesize("two", wanted=[60, 60, 60]))
    finally:
        torch.set_num_threads(1)
    assert two == one


# Waits after each batch of images, so that there is time to kill it.
STAGE = """
import sys, time
from pipeline.synthesis import recipe
draw = recipe.draw
def slowly(*given):
    time.sleep(0.2)
    return draw(*given)
if sys.argv[1] == "slowly":
    recipe.draw = slowly
from pipeline.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def test_killed_with_sigkill_it_leaves_nothing_and_run_again_it_writes_the_same(chain: Chain) -> None:
    whole = chain.synthesize("whole", wanted=[600, 0, 0])
    section = params.read(ROOT / "params.yaml")["synthesize"] | {"gate": {}}
    (chain.root / "params.yaml").write_text(yaml.safe_dump({"synthesize": section}, sort_keys=False), encoding="utf-8")
    written = {
        "out": "killed",
        "metrics": "killed.json",
        "table": "killed.csv",
        "candidates": "killed.parquet",
        "fidelity": "killed.fidelity.csv",
    }
    paths = {"train": chain.train, "generator": "generator", "folds": "baseline-folds", "plan": "whole.plan.json"}
    options = {**paths, **written, "params-file": "params.yaml"}
    command = [
        "synthesize",
        *(word for name, path in options.items() for word in (f"--{name}", str(chain.root / path))),
    ]

    process = subprocess.Popen([sys.executable, "-c", STAGE, "slowly", *command], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not list(chain.root.glob(".killed.*/recipe.json")) and process.poll() is None:
        time.sleep(0.01)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not [name for name in written.values() if (chain.root / name).exists()]

    subprocess.run([sys.executable, "-c", STAGE, "now", *command], cwd=ROOT, check=True, capture_output=True)
    assert digests(chain.root / "killed") == digests(whole)
    assert chain.json("killed") == chain.json("whole")


def test_every_check_of_params_yaml_is_a_file_and_every_file_is_in_it() -> None:
    assert tuple(sorted(DEFAULTS)) == registry.names("pipeline.gate")
    assert list(DEFAULTS)[-1] == "near_duplicate"
