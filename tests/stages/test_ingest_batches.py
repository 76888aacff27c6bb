"""Later batches: an image never changes its split, and shards once made stay as they are."""

from pathlib import Path

import pytest

from pipeline.errors import UserError
from tests.builders import Built, build, digests, image_folder, picture, save, scan, zip_of


def shards(built: Built) -> dict[str, str]:
    return {name: digest for name, digest in digests(built.root).items() if name.endswith(".parquet")}


def extend(built: Built, source: Path, **changes: float) -> tuple[dict[str, str], dict[str, str]]:
    """Scans and builds anew; returns the new images' splits and the new shards, after checking all old ones."""
    splits_before, shards_before = built.split_of(), shards(built)
    scan(source, built.root)
    build(source, built.root, scanned=True, **changes)
    splits, after = built.split_of(), shards(built)
    assert splits_before.items() <= splits.items(), "an image changed its split"
    assert shards_before.items() <= after.items(), "a shard of an earlier batch changed"
    return (
        {key: split for key, split in splits.items() if key not in splits_before},
        {name: digest for name, digest in after.items() if name not in shards_before},
    )


def test_old_images_and_shards_stay(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"a": 30, "b": 10})
    built = build(source, tmp_path / "out")
    assert [built.counts(name) for name in Built.SPLITS] == [[21, 7], [3, 1], [6, 2]]
    image_folder(source, {"a": 10, "b": 30}, start=100)
    save(source / "a" / "again.png", picture(0, 5))
    splits, new = extend(built, source)
    assert len(splits) == 40
    assert sorted(new) == [f"{name}/00001-00000.parquet" for name in sorted(Built.SPLITS)]
    assert [built.counts(name) for name in Built.SPLITS] == [[28, 28], [4, 4], [8, 8]]
    assert built.metrics["duplicates"] == 1
    save(source / "a" / "late.png", picture(0, 999))
    splits, _ = extend(built, source)
    assert len(splits) == 1


def test_names_that_sort_before_the_old_ones_change_nothing(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"b": 12, "c": 12}, start=500)
    built = build(source, tmp_path / "out")
    image_folder(source, {"b": 12, "c": 12}, start=0)
    for number in range(60):
        save(source / "b" / f"0 big {number}.png", picture(0, number, 40, 40))
    splits, _ = extend(built, source)
    assert len(splits) == 84
    assert built.split("train").image_shape == (3, 12, 12), "the first batch settles the shape"


def test_a_new_class_is_appended(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"b": 5, "c": 5})
    built = build(source, tmp_path / "out")
    before = built.split_of()
    image_folder(source, {"x": 0, "y": 0, "a": 3})
    scan(source, built.root)
    build(source, built.root, scanned=True)
    assert built.split("train").class_names == ("b", "c", "a")
    assert before.items() <= built.split_of().items()
    assert built.counts("train")[2] == 2


def test_a_test_folder_that_comes_later_takes_nothing_back(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"train/a": 20, "train/b": 20})
    built = build(source, tmp_path / "out")
    assert built.counts("test") == [4, 4]
    image_folder(source, {"train/a": 10, "train/b": 10}, start=100)
    image_folder(source, {"x": 0, "y": 0, "test/a": 3, "test/b": 3}, start=200)
    splits, _ = extend(built, source)
    assert sorted(splits.values()).count("test") == 6
    assert built.paths("test") >= {f"test/{label}/{number}.png" for label in "ab" for number in (200, 201, 202)}


def test_a_later_copy_in_the_test_folder_moves_nothing(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"train/a": 8, "train/b": 8, "test/a": 2, "test/b": 2})
    built = build(source, tmp_path / "out")
    for number in range(8):
        save(source / "test" / "a" / f"copy {number}.png", picture(0, number))
    splits, _ = extend(built, source)
    assert splits == {}
    assert built.metrics["duplicates"] == 8


def test_what_was_not_scanned_is_not_built(tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"train/a": 20, "train/b": 20})
    built = build(source, tmp_path / "out")
    before = digests(built.root)
    image_folder(source, {"train/a": 5, "test/a": 5, "test/c": 5}, start=100)
    build(source, built.root, scanned=True)
    assert digests(built.root) == before


@pytest.mark.parametrize("what", ["gone", "changed"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_source_that_no_longer_holds_what_is_pinned_is_refused(tmp_path: Path, what: str, packed: bool) -> None:
    folder = image_folder(tmp_path / "in", {"a": 8, "b": 8})
    source = zip_of(folder, tmp_path / "in.zip") if packed else folder
    scan(source, tmp_path / "out")
    if what == "gone":
        (folder / "b" / "003.png").unlink()
    else:
        save(folder / "b" / "003.png", picture(5, 5))
    if packed:
        zip_of(folder, source)
    count = 15 if what == "gone" else 16
    with pytest.raises(UserError, match=rf"no longer holds what source.json pins as batch 0 .16 files.*{count} files"):
        build(source, tmp_path / "out", scanned=True)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"params.yaml", "source.json"}


def test_a_lock_of_another_source_is_refused(tmp_path: Path) -> None:
    scan(image_folder(tmp_path / "one", {"a": 5, "b": 5}), tmp_path / "out")
    with pytest.raises(
        UserError, match=r"ingest\.source is '.*two', but .* pins '.*one'; run `python -m pipeline scan`"
    ):
        build(image_folder(tmp_path / "two", {"a": 5, "b": 5}), tmp_path / "out", scanned=True)
