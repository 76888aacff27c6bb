"""Parquet shards with images in them, written by Hugging Face's own library."""

import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import sources
from pipeline.errors import UserError
from pipeline.images import encode_png
from pipeline.source_lock import read_bytes
from pipeline.sources import hf_parquet
from tests.builders import build, picture, write_dataset
from tests.formats import hugging_face

COUNTS = {"größe M": 2, "cat": 3}


def found(path: Path) -> list[tuple[str, str, str | None]]:
    return [(file.name, file.label, file.split) for file in sources.files(str(path))]


def write(path: Path, row_group_size: int = 1000, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def images(count: int, column: str = "image") -> dict[str, Any]:
    return {column: [{"bytes": encode_png(picture(0, number)), "path": f"{number}.png"} for number in range(count)]}


def test_a_shard_of_the_library_datasets(tmp_path: Path) -> None:
    path = hugging_face(tmp_path, COUNTS)
    name = "train-00000-of-00001.parquet"
    assert found(path) == [
        (f"{name}/000000{n}", label, "train") for n, label in enumerate(["größe M"] * 2 + ["cat"] * 3)
    ]
    expected = [
        encode_png(picture(label, number)) for label, count in enumerate(COUNTS.values()) for number in range(count)
    ]
    assert [file.read() for file in sources.files(str(path))] == expected


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test.parquet"], ["test", "train", "train"]),
        (["cifar-validation-0.parquet", "cifar-training-0.parquet"], ["train", "val"]),
        (["test/0000.parquet", "train/0000.parquet"], ["test", "train"]),
        (["data/train-0.parquet", "data/val2017.parquet"], ["train", "val"]),
        (["contest.parquet", "latest.parquet", "train_or_test.parquet"], [None] * 3),
    ],
)
def test_shards_and_their_splits(tmp_path: Path, names: list[str], splits: list[str | None]) -> None:
    for name in names:
        write(tmp_path / name, **images(1), label=["a"])
    assert [split for *_, split in found(tmp_path)] == splits
    assert [name for name, *_ in found(tmp_path)] == [f"{name}/0000000" for name in sorted(names)]


def test_a_shard_of_no_split_beside_those_of_one_is_refused(tmp_path: Path) -> None:
    for name in ("train-0.parquet", "extra.parquet"):
        write(tmp_path / name, **images(1), label=["a"])
    with pytest.raises(
        UserError, match=r"'train-0\.parquet' is named like a split, 'extra\.parquet' is not; rename one"
    ):
        found(tmp_path)


def test_columns_for_split_group_and_box(tmp_path: Path) -> None:
    boxes = [[1, 2, 3, 4], None]
    path = write(
        tmp_path / "a.parquet", **images(2), label=[7, 8], split=["test", None], patient=["p", None], bbox=boxes
    )
    assert [(file.label, file.split, file.group, file.box) for file in sources.files(str(path))] == [
        ("7", "test", "p", (1, 2, 3, 4)),
        ("8", None, None, None),
    ]


def test_the_only_class_label_is_the_class_whatever_its_name(tmp_path: Path) -> None:
    import datasets

    features = {
        "img": datasets.Image(),
        "fine": datasets.ClassLabel(names=["owl", "elk"]),
        "n": datasets.Value("int64"),
    }
    rows = [row | {"fine": 1, "n": 0} for row in pa.table(images(1, "img")).to_pylist()]
    datasets.Dataset.from_list(rows, features=datasets.Features(features)).to_parquet(tmp_path / "a.parquet")
    assert found(tmp_path / "a.parquet") == [("a.parquet/0000000", "elk", None)]


@pytest.mark.parametrize(
    ("columns", "line"),
    [
        ({**images(1), "n": [1]}, "has no column for the label; accepted: label, labels, class, "),
        ({"label": ["a"]}, r"expected one column of images, a struct \{bytes, path\}; has the columns 'label'$"),
        (
            {**images(1, "a"), **images(1, "b"), "label": ["a"]},
            "expected one column of images.*has the columns 'a', 'b', 'label'$",
        ),
        ({**images(2), "label": ["a", None]}, "row 2 has no label; remove the row, or label it$"),
        (
            {**images(2), "label": ["a", "b"], "split": ["train", "best"]},
            "row 2: unknown split 'best'; accepted: train, ",
        ),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, columns: dict[str, Any], line: str) -> None:
    write(tmp_path / "a.parquet", **columns)
    with pytest.raises(UserError, match=rf"a\.parquet: {line}"):
        found(tmp_path)


def test_rows_without_bytes_count_as_empty(tmp_path: Path) -> None:
    rows = [{"bytes": None, "path": "/etc/passwd"}, None, {"bytes": b"x", "path": None}]
    image = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    path = write(tmp_path / "a.parquet", image=image, label=["a"] * 3)
    assert [read_bytes(file) for file in sources.files(str(path))] == [b"", b"", b"x"]


@pytest.mark.parametrize("row_group_size", [1, 3, 100])
def test_rows_may_be_read_in_any_order(tmp_path: Path, row_group_size: int) -> None:
    columns = images(10)
    path = write(tmp_path / "a.parquet", row_group_size, **columns, label=["a"] * 10)
    reader = hf_parquet._Images(path, "image")
    for number in (0, 0, 1, 5, 5, 9, 2, 3, 0):
        assert reader.read(number) == columns["image"][number]["bytes"]
    reader.close()


def test_rows_in_order_and_read_twice_are_one_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.parquet", 3, **images(7), label=["a"] * 7)
    begun: list[int] = []
    real = hf_parquet._Images._open_group
    monkeypatch.setattr(hf_parquet._Images, "_open_group", lambda self, row: begun.append(row) or real(self, row))
    for file in sources.files(str(path)):
        assert file.read() == file.read()
    assert begun == [0, 3, 6]


def test_images_are_streamed(tmp_path: Path) -> None:
    """What Arrow and Python hold while 400 images of 100 kB (40 MB) pass, 2 MB of them in a row group."""
    data = [{"bytes": bytes([number % 256]) * 100_000, "path": ""} for number in range(400)]
    path = write(tmp_path / "a.parquet", 20, image=data, label=["a"] * 400)
    before, most = pa.default_memory_pool().bytes_allocated(), 0
    tracemalloc.start()
    for file in sources.files(str(path)):
        assert len(file.read()) == 100_000
        most = max(most, pa.default_memory_pool().bytes_allocated() - before)
    _, traced = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most + traced < 8e6, (most, traced)


def test_a_damaged_image_page_is_quarantined_and_a_damaged_shard_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", 2, **images(4), label=["a"] * 4)
    start = pq.read_metadata(path).row_group(1).column(0).data_page_offset
    content = bytearray(path.read_bytes())
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)
    assert [len(read_bytes(file)) > 0 for file in sources.files(str(path))] == [True, True, False, False]
    path.write_bytes(bytes(content[:-20]))
    with pytest.raises(UserError, match=r"a\.parquet: is no Parquet file that can be read \("):
        found(tmp_path)


def test_a_shard_linked_from_outside_is_refused(tmp_path: Path) -> None:
    outside = hugging_face(tmp_path / "outside", COUNTS)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.parquet").symlink_to(outside)
    with pytest.raises(UserError, match=r"'a\.parquet' is a link to outside its folder$"):
        found(tmp_path / "in")


def test_a_data_set_of_ours_is_a_source(tmp_path: Path) -> None:
    write_dataset(tmp_path / "real" / "train", {"cat": 4, "dog": 3})
    write_dataset(tmp_path / "real" / "test", {"cat": 1, "dog": 2}, split="test")
    assert [(label, split) for _, label, split in found(tmp_path / "real")] == [
        *[("cat", "test")] + [("dog", "test")] * 2 + [("cat", "train")] * 4 + [("dog", "train")] * 3
    ]


def test_ingest_reads_it(tmp_path: Path) -> None:
    built = build(hugging_face(tmp_path / "in", {"cat": 20, "dog": 10}), tmp_path / "out")
    assert len(built.split_of()) == 30
    assert built.quarantine == []
