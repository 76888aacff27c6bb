"""Folders of images with a metadata file, as Hugging Face lays them out."""

from pathlib import Path

import pytest

from pipeline import sources
from pipeline.errors import UserError
from tests.builders import build, picture, save
from tests.formats import listed, write_table

NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")


def found(root: Path) -> list[tuple[str, str, str | None]]:
    return [(file.name, file.label, file.split) for file in sources.files(str(root))]


@pytest.mark.parametrize("name", NAMES)
def test_metadata_at_the_top(tmp_path: Path, name: str) -> None:
    records = [
        {"file_name": "a.png", "image": "x", "label": "cat"},
        {"file_name": "b/c.png", "image": "y", "label": "dog"},
    ]
    write_table(tmp_path / name, records)
    assert found(tmp_path) == [("a.png", "cat", None), ("b/c.png", "dog", None)]


@pytest.mark.parametrize("top", ["", "data/"])
def test_metadata_beside_each_split(tmp_path: Path, top: str) -> None:
    for split, name in zip(("train", "validation", "test"), NAMES, strict=True):
        write_table(tmp_path / f"{top}{split}" / name, [{"file_name": "a.png", "label": split[0]}])
    assert found(tmp_path) == [
        (f"{top}test/a.png", "t", "test"),
        (f"{top}train/a.png", "t", "train"),
        (f"{top}validation/a.png", "v", "val"),
    ]


def test_a_column_for_the_split_wins_over_the_folder(tmp_path: Path) -> None:
    records = [{"file_name": f"train/{split}.png", "label": "cat", "split": split} for split in ("train", "test", "")]
    write_table(tmp_path / "metadata.csv", records)
    assert [split for *_, split in found(tmp_path)] == ["train", "test", "train"]


def test_boxes_of_one_file_are_a_group_named_from_the_source(tmp_path: Path) -> None:
    record = {"file_name": "a.png", "label": "cat", "box": "0 0 4 4"}
    write_table(tmp_path / "train" / "metadata.csv", [record, record | {"box": "4 0 4 4"}])
    assert [(file.name, file.group) for file in sources.files(str(tmp_path))] == [
        ("train/a.png#0,0,4,4", "train/a.png"),
        ("train/a.png#4,0,4,4", "train/a.png"),
    ]


@pytest.mark.parametrize("other", ["metadata.jsonl", "train/metadata.csv"])
def test_two_lists_of_one_folder_are_refused(tmp_path: Path, other: str) -> None:
    write_table(tmp_path / "metadata.csv", [{"file_name": "a.png", "label": "cat"}])
    write_table(tmp_path / other, [{"file_name": "a.png", "label": "cat"}])
    with pytest.raises(UserError, match=rf"metadata\.csv and {other} list the same folder; keep one of them$"):
        found(tmp_path)


def test_a_missing_label_column_is_told(tmp_path: Path) -> None:
    write_table(tmp_path / "metadata.csv", [{"file_name": "a.png", "text": "a cat"}])
    with pytest.raises(
        UserError, match=r"metadata\.csv: has no column for the label; accepted: label, .*'file_name', 'text'"
    ):
        found(tmp_path)


def test_metadata_linked_from_outside_is_refused(tmp_path: Path) -> None:
    write_table(tmp_path / "outside" / "metadata.csv", listed(tmp_path / "outside", {"cat": 1}, "file_name"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train").symlink_to(tmp_path / "outside")
    with pytest.raises(UserError, match=r"'train/metadata\.csv' is a link to outside its folder$"):
        found(tmp_path / "in")


def test_paths_that_leave_a_split_s_folder_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0, 0))
    write_table(tmp_path / "train" / "metadata.csv", [{"file_name": "../a.png", "label": "cat"}])
    with pytest.raises(UserError, match=r"train/metadata\.csv: row 2: '\.\./a\.png' points outside its folder"):
        found(tmp_path)


def test_ingest_keeps_the_given_splits(tmp_path: Path) -> None:
    for split, counts in {"train": {"cat": 6, "dog": 5}, "test": {"cat": 2, "dog": 3}}.items():
        start = {"train": 0, "test": 100}[split]
        for label, (name, count) in enumerate(counts.items()):
            for number in range(start, start + count):
                save(tmp_path / "in" / split / f"{name}{number}.png", picture(label, number))
        records = [
            {"file_name": f"{name}{number}.png", "label": name}
            for name, count in counts.items()
            for number in range(start, start + count)
        ]
        write_table(tmp_path / "in" / split / "metadata.csv", records)
    built = build(tmp_path / "in", tmp_path / "out", val_fraction=0.0)
    assert (built.counts("train"), built.counts("test")) == ([6, 5], [2, 3])
