import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.stages import ingest_source
from tests.builders import build as ingest_target
from tests.builders import digests, image_folder, picture, save, scan, zip_of
from tests.stages.chain import Chain
from tests.tiny import settings


def build(domain: Path | str, root: Path, **changes: Any) -> Dataset:
    scan("builtin:digits", root, domain)
    params = settings(ingest_source.Params, "ingest_source", source=str(domain), **changes)
    ingest_source.run(root / "source.json", root / "domain", root / "metrics.json", params)
    return Dataset.open(root / "domain")


def test_all_images_are_for_training(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"train/cat": 5, "train/dog": 3, "test/dog": 2})
    shutil.copy(source / "train/cat/000.png", source / "train/cat/copy.png")
    domain = build(source, tmp_path / "out")
    assert domain.class_counts().tolist() == [5, 3 + 2]
    assert {(row.split, row.origin) for row in domain.rows()} == {("train", "real")}


def test_glyphs(tmp_path: Path) -> None:
    domain = build("builtin:glyphs", tmp_path)
    assert domain.class_names == tuple("0123456789")
    assert domain.image_shape == (1, 8, 8)
    assert all(390 <= count <= 400 for count in domain.class_counts())


def test_none_gives_an_empty_data_set(tmp_path: Path) -> None:
    domain = build("none", tmp_path)
    assert domain.num_rows == domain.num_classes == 0
    assert list(digests(tmp_path / "domain")) == ["00000-00000.parquet"]


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"cat": 5, "dog": 3})
    one, two = (build(source, tmp_path / name).folders[0] for name in ("one", "two"))
    assert digests(one) == digests(two)


def test_bad_sources_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"cat": 3})
    with pytest.raises(UserError, match="holds only the class 'cat'"):
        build(source, tmp_path / "one class")
    image_folder(source, {"cat": 3, "dog": 2})
    save(source / "dog" / "bad.png", b"nonsense")
    with pytest.raises(UserError, match="1 of 6 images can't be used"):
        build(source, tmp_path / "bad")
    assert not (tmp_path / "bad" / "domain").exists()
    assert build(source, tmp_path / "allowed", max_bad_fraction=0.2).num_rows == 5


def test_a_zip_of_other_classes_channels_and_size_is_a_source_for_a_zip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As CIFAR-100 is for CIFAR-10, here across all that may differ: the trunk is taken, its first layer adapted."""
    monkeypatch.setenv("COUNTERWEIGHT_WORKERS", "1")
    target = zip_of(image_folder(tmp_path / "t", {"cat": 12, "dog": 9}), tmp_path / "target.zip", "target/")
    other = tmp_path / "o"
    for label, name in enumerate(("bolt", "nut", "screw")):
        for number in range(6):
            save(other / name / f"{number}.png", picture(label + 2, number, 20, 20)[..., 0])  # grey
    source = zip_of(other, tmp_path / "source.zip")
    chain = Chain(tmp_path / "chain")
    chain.source_domain = build(source, tmp_path / "source").folders[0]
    built = ingest_target(target, tmp_path / "target", image_size=12)
    chain.train, chain.val = built.root / "train", built.root / "val"
    assert Dataset.open(chain.source_domain).image_shape == (1, 20, 20)
    assert built.split("train").image_shape == (3, 12, 12)
    chain.train_source()
    chain.train_classifier("arm", chain.train)
    told = chain.json("arm")["weights"]
    assert (told["adapted"], told["fresh"]) == (1, 2)
    assert told["taken"] > 20
