"""Generators that learn the group that the source names beside the class, and images that are drawn for it."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from pipeline.dataset import Dataset, ShardWriter
from pipeline.errors import UserError
from pipeline.images import SHAPE_FILE, decode_png
from pipeline.seeds import derive
from pipeline.stages import synthesize, train_generator
from pipeline.stages.synthesize import load_generator
from pipeline.synthesis import recipe
from pipeline.synthesis.attributes import Attributes
from tests.builders import digests
from tests.stages.chain import STEPS, Chain
from tests.tiny import settings

# nine images of class 0, five of class 1, all by one camera, and one of class 2, by none that is named
FOUND = ["hall"] * 6 + ["yard"] * 3 + ["hall"] * 5 + [None]


def regroup(folder: Path, groups: Sequence[str | None], out: Path) -> Path:
    """A data set with other groups."""
    data = Dataset.open(folder)
    with ShardWriter(out, data.class_names) as writer:
        for row, group in zip(data.rows(), groups, strict=True):
            writer.add(replace(row, group=group))
    if (folder / SHAPE_FILE).exists():
        (out / SHAPE_FILE).write_bytes((folder / SHAPE_FILE).read_bytes())
    return out


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    chain = Chain(tmp_path)
    chain.train = regroup(chain.train, FOUND, tmp_path / "grouped" / "train")
    chain.val = regroup(chain.val, ["hall", None, "attic", "yard", "yard"], tmp_path / "grouped" / "val")
    return chain


def groups_of(folder: Path, label: int) -> Counter[str | None]:
    return Counter(row.group for row in Dataset.open(folder).rows() if row.label == label)


def test_images_are_drawn_for_values_as_the_classes_have_them_or_for_all_alike(chain: Chain) -> None:
    chain.train_source()
    chain.baseline()
    folder = chain.train_generator(attribute="group", schedule=STEPS | {"check_every": 3})
    assert json.loads((folder / "task.json").read_text(encoding="utf-8"))["attributes"] == ["hall", "yard"]
    assert load_generator(folder).attributes == ("hall", "yard")

    found = chain.synthesize("found", wanted=[60, 40, 5])
    assert groups_of(found, 0).keys() == {"hall", "yard"}
    assert groups_of(found, 0)["hall"] > groups_of(found, 0)["yard"] > 5
    assert groups_of(found, 1) == {"hall": 40}
    assert groups_of(found, 2) == {None: 5}

    even = chain.synthesize("even", wanted=[0, 60, 60], attribute="even")
    for label in (1, 2):
        assert groups_of(even, label).keys() == {"hall", "yard"}
        assert min(groups_of(even, label).values()) > 15

    rows = list(Dataset.open(even).rows())
    table = pd.read_parquet(chain.root / "even.parquet")
    assert table["group"].tolist() == [row.group for row in rows]
    assert pd.read_parquet(chain.root / "found.parquet")["group"].isna().sum() == 5
    how, model = recipe.read(even, folder), load_generator(folder)
    np.testing.assert_array_equal(recipe.rebuild(rows, model, how)[:, 0], [decode_png(row.image) for row in rows])
    swapped = [replace(row, group="yard" if row.group == "hall" else "hall") for row in rows]
    assert (recipe.rebuild(swapped, model, how) != recipe.rebuild(rows, model, how)).any(axis=(1, 2, 3)).all()


def test_the_value_of_a_draw_follows_from_its_seed_alone(chain: Chain) -> None:
    real, names = Dataset.open(chain.train), ("hall", "yard")
    seeds = np.arange(3000)
    found = Attributes(names, real, "as_found").draw(0, seeds)
    assert found.tolist() == [1 if derive(seed, "attribute") / 2**31 < 6 / 9 else 2 for seed in range(3000)]
    assert np.bincount(Attributes(names, real, "even").draw(2, seeds)) / 3000 == pytest.approx([0, 0.5, 0.5], abs=0.03)
    assert found[700:800].tolist() == Attributes(names, real, "as_found").draw(0, seeds[700:800]).tolist()
    assert not Attributes((), real, "even").draw(0, seeds).any()
    assert Attributes(names, real, "even").names(np.array([2, 0, 1])) == ["yard", None, "hall"]


def test_a_class_without_images_is_drawn_as_all_others_are(chain: Chain) -> None:
    data = Dataset.open(chain.train)
    with ShardWriter(chain.root / "fewer", data.class_names) as writer:
        for row in data.rows():
            if row.label != 1:
                writer.add(row)
    drawn = Attributes(("hall", "yard"), Dataset.open(chain.root / "fewer"), "as_found").draw(1, np.arange(3000))
    assert np.bincount(drawn) / 3000 == pytest.approx([0.1, 0.6, 0.3], abs=0.03)


def test_it_is_off_unless_it_is_asked_for(chain: Chain) -> None:
    chain.train_source()
    chain.baseline()
    with_groups = digests(chain.train_generator("generator"))
    assert "attributes" not in json.loads((chain.root / "generator" / "task.json").read_text(encoding="utf-8"))
    assert set(groups_of(chain.synthesize("even", wanted=[9, 9, 9], attribute="even"), 0)) == {None}
    chain.train = regroup(chain.train, [None] * 15, chain.root / "plain" / "train")
    assert digests(chain.train_generator("without_groups")) == with_groups


def test_other_groups_give_other_weights_and_equal_ones_the_same(chain: Chain) -> None:
    one, again = (digests(chain.train_generator(name, attribute="group")) for name in ("one", "again"))
    assert one == again
    chain.train = regroup(chain.train, FOUND[::-1], chain.root / "regrouped" / "train")
    assert digests(chain.train_generator("other", attribute="group")) != one


def test_it_starts_from_a_generator_that_was_told_none(chain: Chain) -> None:
    first = chain.train_generator("first") / "weights.safetensors"
    start = {"weights": str(first), "sha256": hashlib.sha256(first.read_bytes()).hexdigest()}
    still = STEPS | {"steps": 1, "lr": 1e-12, "weight_decay": 0.0, "ema_decay": 0.0}
    again = load_file(
        chain.train_generator("again", start=start, schedule=still, attribute="group") / "weights.safetensors"
    )
    before = load_file(first)
    assert chain.json("again")["started_from"] == len(before)
    assert again.keys() - before.keys() == {"classes.attributes.weight"}
    assert all(torch.allclose(again[name].float(), value.float(), atol=1e-6) for name, value in before.items())


def test_two_processes_are_told_the_values_of_their_own_images(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTERWEIGHT_DEVICES", "2")
    folder = chain.train_generator(attribute="group")
    assert load_generator(folder).attributes == ("hall", "yard")


@pytest.mark.parametrize(
    ("groups", "line"),
    [
        ([None] * 15, "the source names no group of any training image; take null"),
        (
            [f"patient {number}" for number in range(15)],
            "the source names 15 groups of training images, at most 14 can be learned (sites or cameras, not "
            "patients); take null",
        ),
    ],
    ids=["none", "too many"],
)
def test_groups_that_cannot_be_learned_are_one_line(
    groups: list[str | None], line: str, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_generator, "MAX_ATTRIBUTES", 14)
    chain.train = regroup(chain.train, groups, chain.root / "regrouped" / "train")
    with pytest.raises(UserError) as caught:
        chain.train_generator(attribute="group")
    assert str(caught.value) == f"params.yaml: train_generator.attribute: {line}"
    assert not (chain.root / "generator").exists()


def test_words_that_are_not_known_are_one_line() -> None:
    with pytest.raises(UserError) as caught:
        settings(train_generator.Params, "train_generator", attribute="camera")
    assert str(caught.value) == "train_generator.attribute should be 'group', got 'camera'"
    with pytest.raises(UserError) as caught:
        settings(synthesize.Params, "synthesize", attribute="all")
    assert str(caught.value) == "synthesize.attribute should be 'as_found' or 'even', got 'all'"
