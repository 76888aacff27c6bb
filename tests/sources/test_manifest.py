"""Lists of images: what their columns mean, and what is refused in which row."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import source_lock, sources
from pipeline.errors import UserError
from pipeline.sources import SourceFile, _tables
from tests.builders import build, picture, save, scan
from tests.formats import listed, write_table

ENDINGS = (".csv", ".tsv", ".jsonl", ".parquet")


def found(path: Path) -> list[SourceFile]:
    return list(sources.files(str(path)))


def written(folder: Path, text: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    (folder / name).write_bytes(text.encode(encoding))
    return folder / name


def refused(path: Path) -> str:
    """The one line that a list is refused with, without the folder."""
    with pytest.raises(UserError) as caught:
        found(path)
    line = str(caught.value)
    assert "\n" not in line
    return line.replace(f"{path.parent}/", "")


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_format_says_the_same(tmp_path: Path, ending: str) -> None:
    records: list[dict[str, Any]] = [
        {"path": "a/1.png", "label": "größe, M", "split": "train", "group": "p1", "bbox": None},
        {"path": "a/2.png", "label": "größe, M", "split": "test", "group": None, "bbox": None},
        {"path": "./a//1.png", "label": "owl", "split": None, "group": "p2", "bbox": [1, 2, 3, 4]},
        {"path": "a\\3.png", "label": "owl", "split": "Validation", "group": "p1", "bbox": [0, 0, 2.6, 2.4]},
    ]
    if ending in (".csv", ".tsv"):
        records = [record | {"bbox": json.dumps(record["bbox"]) if record["bbox"] else ""} for record in records]
    assert [
        (f.name, f.label, f.split, f.group, f.box) for f in found(write_table(tmp_path / f"l{ending}", records))
    ] == [
        ("a/1.png", "größe, M", "train", "p1", None),
        ("a/2.png", "größe, M", "test", None, None),
        ("a/1.png#1,2,3,4", "owl", None, "p2", (1, 2, 3, 4)),
        ("a/3.png#0,0,3,2", "owl", "val", "p1", (0, 0, 3, 2)),
    ]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("path,label", "a.png,cat"),
        ("File Name,Class", "a.png,cat"),
        ("filename;category;note", "a.png;cat;a, b"),
        ("image|class_name", "a.png|cat"),
        ("label,file,id", "cat,a.png,7"),
        ("path,filename,label,category", "a.png,other.png,cat,pet"),
        ("\ufeffpath,label", "a.png,cat"),
        ("path , label", "a.png , cat "),
    ],
)
def test_columns_go_by_any_of_their_usual_names(tmp_path: Path, header: str, row: str) -> None:
    (file,) = found(written(tmp_path, f"{header}\r\n\r\n{row}\r\n"))
    assert (file.name, file.label, file.split, file.group, file.box) == ("a.png", "cat", None, None, None)


@pytest.mark.parametrize(
    ("header", "row", "box"),
    [
        ("x,y,w,h", "1,2,3,4", (1, 2, 3, 4)),
        ("X,Y,Width,Height", "1,2,3,4", (1, 2, 3, 4)),
        ("bbox_x,bbox_y,bbox_w,bbox_h", "1,2,3,4", (1, 2, 3, 4)),
        ("xmin,ymin,xmax,ymax", "1,2,3,4", (1, 2, 2, 2)),
        ("left,top,right,bottom", "10,20,13,24", (10, 20, 3, 4)),
        ("box", '"[1, 2, 3, 4]"', (1, 2, 3, 4)),
        ("bbox", "1 2 3 4", (1, 2, 3, 4)),
        ("box", "", None),
        ("x,y,w,h", ",,,", None),
        ("width,height", "640,480", None),  # of the image
        ("x,y,w,h", "0.4,0.6,10.2,-5", (0, 1, 11, -5)),  # edges at 10.6 and -4.4
        ("x,y,w,h", "1e300,0,1,1", (2**30, 0, 0, 1)),
    ],
)
def test_boxes(tmp_path: Path, header: str, row: str, box: tuple[int, ...] | None) -> None:
    (file,) = found(written(tmp_path, f"path,label,{header}\na.png,cat,{row}\n"))
    assert file.box == box
    assert file.name == ("a.png" if box is None else f"a.png#{','.join(map(str, box))}")
    assert file.group == (None if box is None else "a.png"), "boxes of one image stay together"


@pytest.mark.parametrize(
    ("given", "split"),
    [("train", "train"), ("Training", "train"), ("VAL", "val"), ("validation", "val"), ("testing", "test"), ("", None)],
)
def test_splits_go_by_any_of_their_usual_names(tmp_path: Path, given: str, split: str | None) -> None:
    (file,) = found(written(tmp_path, f"path,label,subset\na.png,cat,{given}\n"))
    assert file.split == split


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "list.csv: is empty; expected columns such as path, label"),
        ("path,label\n", "list.csv: lists no image"),
        ("pfad,label\na,b\n", "list.csv: has no column for the path; accepted: path, file_name, "),
        ("path,lable\na,b\n", "has: 'path', 'lable'; did you mean 'label'?"),
        ("file,image,label\na,b,c\n", "list.csv: 'file' and 'image' could each be the path; name one of them 'path'"),
        ("path,path,label\na,b,c\n", "list.csv: has more than one column 'path'"),
        ("path,label,x,y,w\na,b,1,2,3\n", "list.csv: has columns for a box, but not 'h' (expected x, y, w, h)"),
        ("path,label,box,x,y,w,h\na,b,,1,2,3,4\n", "list.csv: has more than one box a row"),
        ("path,label\na.png,cat\nb.png\n", "list.csv: row 3 has 1 cells, but the header 2"),
        ("path,label\na.png,cat\n\nb.png,\n", "list.csv: row 4 has no label; remove the row, or label it"),
        ("path,label\n,cat\n", "list.csv: row 2 names no file"),
        (f"path,label\n{'x' * 256},cat\n", f"list.csv: row 2: {'x' * 80!r}… is longer than a file's name can be"),
        (f"path,label\n{'x/' * 2001},cat\n", "… is longer than a file's name can be"),
        ('path,label\n"a.png,cat\n', "list.csv: row 2 is damaged (unexpected end of data)"),
        (
            "path,label,split\na.png,cat,holdout\n",
            "list.csv: row 2: unknown split 'holdout'; accepted: train, training, ",
        ),
        (
            "path,label,box\na.png,cat,1 2 3\n",
            "list.csv: row 2: a box must be four numbers x, y, w, h, got ['1', '2', '3']",
        ),
        ("path,label,box\na.png,cat,nan 2 3 4\n", "list.csv: row 2: a box must be four finite numbers, got ['nan',"),
        ("path,label\na.png,a\tb\n", "list.csv: row 2: label must be at most 200 printable signs, got 'a\\tb'"),
        (f"path,label\na.png,{'x' * 201}\n", "list.csv: row 2: label must be at most 200 printable signs, got 'xxx"),
        (
            "path,label\na.png,cat\nb.png,owl\n./a.png,dog\n",
            "list.csv: row 4: 'a.png' is listed with another label, split ",
        ),
        ("path,label,split\na.png,cat,train\na.png,cat,test\n", "or group than in row 2; keep one of the two"),
    ],
)
def test_what_is_wrong_is_told_with_its_row(tmp_path: Path, text: str, line: str) -> None:
    assert line in refused(written(tmp_path, text))


@pytest.mark.parametrize(
    "name",
    ["../a.png", "a/../../b.png", "/etc/passwd", "C:\\a.png", "\\\\host\\a.png", "https://host/a.png", "a\0b.png"],
)
@pytest.mark.parametrize("ending", [".csv", ".jsonl", ".parquet"])
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, name: str, ending: str) -> None:
    path = write_table(tmp_path / f"list{ending}", [{"path": "ok.png", "label": "a"}, {"path": name, "label": "a"}])
    row = 3 if ending == ".csv" else 2
    expected = f"list{ending}: row {row}: {name!r} points outside its folder; expected a path below it, such as a/1.png"
    assert refused(path) == expected


@pytest.mark.parametrize("name", ["link.png", "folder/a.png", "chain.png"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path / "outside" / "a.png", picture(0, 0))
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "link.png").symlink_to(tmp_path / "outside" / "a.png")
    (inside / "chain.png").symlink_to(inside / "link.png")
    (inside / "folder").symlink_to(tmp_path / "outside")
    path = written(inside, f"path,label\n{name},cat\n")
    assert refused(path) == f"list.csv: row 2: {name!r} is a link to outside its folder"


def test_links_within_the_folder_are_followed(tmp_path: Path) -> None:
    save(tmp_path / "real" / "a.png", b"bytes")
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "a.png")
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    path = written(tmp_path, "path,label\nlink.png,cat\nfolder/a.png,cat\n")
    assert [file.read() for file in found(path)] == [b"bytes"] * 2


def endless(path: Path) -> None:
    os.mkfifo(path)


def in_a_circle(path: Path) -> None:
    path.symlink_to(path)


def absurd(path: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)  # a sparse file


@pytest.mark.parametrize("make", [lambda _: None, endless, in_a_circle, absurd, Path.mkdir])
def test_a_file_that_cannot_be_read_is_quarantined(tmp_path: Path, make: Callable[[Path], None]) -> None:
    records = listed(tmp_path, {"cat": 20, "dog": 20})
    make(tmp_path / "odd.png")
    path = write_table(tmp_path / "list.csv", [*records, {"path": "odd.png", "label": "cat"}])
    built = build(path, tmp_path / "out")
    assert [line["name"] for line in built.quarantine] == ["odd.png"]
    assert len(built.split_of()) == 40


def test_the_same_row_twice_is_one_image(tmp_path: Path) -> None:
    path = written(tmp_path, "path,label\na.png,cat\nb.png,dog\n./a.png,cat\n")
    assert [file.name for file in found(path)] == ["a.png", "b.png"]


@pytest.mark.parametrize(("encoding", "row"), [("latin-1", "ä.png,cat"), ("utf-16", "a.png,cat")])
def test_another_encoding_is_told(tmp_path: Path, encoding: str, row: str) -> None:
    line = refused(written(tmp_path, f"path,label\n{row}\n", encoding=encoding))
    assert line.endswith("is no UTF-8; save it as UTF-8")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            '{"path": "a.png", "label": "cat"}\n[1]\n',
            'row 2 is no JSON object such as {"path": "a/1.png", "label": "a"}',
        ),
        ('{"path": "a.png", "label": "cat"}\n{"path"\n', "row 2 is no JSON (Expecting ':' delimiter"),
        ('{"path": "a.png", "label": "cat"}\n' + "[" * 100_000, "row 2 is no JSON (maximum recursion depth exceeded"),
        ('{"path": "a.png", "label": ' + "9" * 5000 + "}", "row 1 is no JSON (Exceeds the limit"),
        ('{"path": "a.png", "label": ["cat"]}', "row 1: label must be text or a whole number, got \"['cat']\""),
        ('{"path": "a.png", "label": 0.5}', "row 1: label must be text or a whole number, got '0.5'"),
        ('{"path": "a.png", "label": "\\ud800"}', "row 1: label must be at most 200 printable signs, got '\\ud800'"),
        ('{"path": 7, "label": "cat"}', "row 1 names no file"),
        ('{"path": "\\ud800.png", "label": "cat"}', "row 1: '\\ud800.png' holds signs that are no Unicode"),
        ('{"path": "a.png", "label": "cat", "box": {"x": 1}}', "row 1: a box must be four numbers x, y, w, h, got "),
        ('{"path": "a.png", "label": "a"}\n{"label": "b"}', "has no column for the path; accepted: path, "),
    ],
)
def test_json_lines_that_are_wrong(tmp_path: Path, text: str, line: str) -> None:
    assert line in refused(written(tmp_path, text, "list.jsonl"))


def test_labels_may_be_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, '{"path": "a.png", "label": 3}\n{"path": "b.png", "label": 3.0}\n', "list.jsonl")
    assert [file.label for file in found(path)] == ["3", "3"]


def test_a_row_without_end_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    long = "x" * _tables.MAX_ROW_CHARS
    expected = f"row 2 has more than {_tables.MAX_ROW_CHARS} characters"
    assert expected in refused(written(tmp_path, f"path,label\n{long},cat\n"))
    cells = '"a\nb",' * 200_000  # one row of many lines
    assert expected in refused(written(tmp_path, f"path,label\n{cells}\n"))
    assert "row 1 has more than" in refused(written(tmp_path, '{"path": "' + long + '"}', "list.jsonl"))


def test_a_parquet_cut_off_or_with_endless_lists_is_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "list.parquet", [{"path": "a.png", "label": "cat"}] * 3)
    path.write_bytes(path.read_bytes()[:-30])
    assert refused(path).startswith("list.parquet: is no Parquet file that can be read (")
    pq.write_table(pa.table({"path": ["a.png"], "label": ["cat"], "box": [[0] * 1_000_000]}), path)
    assert refused(path) == "list.parquet: column 'box' holds 1000000 values in 1 rows"


def test_hugging_face_class_labels_are_named(tmp_path: Path) -> None:
    features = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"path": ["a.png", "b.png"], "label": [1, 0]})
    path = tmp_path / "list.parquet"
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)
    assert [file.label for file in found(path)] == ["dog", "cat"]
    table = pa.table({"path": ["a.png", "b.png"], "label": [1, -1]})
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(features)}), path)
    assert refused(path) == "list.parquet: row 2 has no label; remove the row, or label it"


@pytest.mark.parametrize("ending", ENDINGS)
def test_rows_are_streamed(tmp_path: Path, ending: str) -> None:
    def records(count: int) -> list[dict[str, str]]:
        return [{"path": f"folder/{number:07d}.png", "label": f"class {number % 3}"} for number in range(count)]

    def peak(count: int) -> int:
        path = write_table(tmp_path / f"{count}{ending}", records(count))
        if ending == ".parquet":
            pq.write_table(pq.read_table(path), path, row_group_size=1000)
        before = pa.default_memory_pool().bytes_allocated()
        tracemalloc.start()
        most = 0
        for number, _ in enumerate(_tables.rows(path, lambda _: True)):
            if number % 500 == 0:
                most = max(most, pa.default_memory_pool().bytes_allocated() - before)
        _, traced = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most + traced

    peak(100)  # what is imported and cached once
    small, large = peak(2_000), peak(20_000)
    assert large < small + 2**18, (small, large)


def test_a_label_that_changes_in_the_list_is_noticed(tmp_path: Path) -> None:
    records = listed(tmp_path, {"cat": 3, "dog": 3})
    path = write_table(tmp_path / "list.csv", records)
    pins = source_lock.read(scan(path, tmp_path / "out"))
    write_table(
        path, [{**record, "label": "dog" if number == 0 else record["label"]} for number, record in enumerate(records)]
    )
    with pytest.raises(UserError, match=r"1 pinned files changed \(first: pictures/0000\.png\) and 0 are gone"):
        scan(path, tmp_path / "out")
    with pytest.raises(UserError, match="no longer holds what"):
        list(source_lock.pinned(pins["ingest"], {0}, found(path)))
    write_table(path, [record | {"group": "patient 1"} for record in records])
    with pytest.raises(UserError, match="6 pinned files changed"):
        scan(path, tmp_path / "out")


def test_new_rows_become_a_batch(tmp_path: Path) -> None:
    records = listed(tmp_path, {"cat": 6, "dog": 6})
    path = write_table(tmp_path / "list.csv", records[::2])
    scan(path, tmp_path / "out")
    write_table(path, records)
    pins = source_lock.read(scan(path, tmp_path / "out"))
    assert [batch.files for batch in pins["ingest"].batches] == [6, 6]


def test_boxes_are_cut_out_and_those_outside_quarantined(tmp_path: Path) -> None:
    pixels = picture(0, 0, 24, 36)
    save(tmp_path / "a.png", pixels)
    boxes = [(x, y, 12, 12) for y in (0, 12) for x in (0, 12, 24)] + [(25, 0, 12, 12), (0, 0, 0, 12), (-1, 0, 12, 12)]
    records = [
        {"path": "a.png", "label": "ab"[number % 2], "x": x, "y": y, "w": w, "h": h}
        for number, (x, y, w, h) in enumerate(boxes)
    ]
    path = write_table(tmp_path / "list.csv", records)
    built = build(path, tmp_path / "out", image_size=12, val_fraction=0.0, test_fraction=0.0, max_bad_fraction=0.5)
    assert [line["name"] for line in built.quarantine] == ["a.png#25,0,12,12", "a.png#0,0,0,12", "a.png#-1,0,12,12"]
    train = built.split("train")
    images = {row.path: image for row, image in zip(train.rows(), train.images(), strict=True)}
    assert len(images) == 6
    for x, y, w, h in boxes[:6]:
        np.testing.assert_array_equal(images[f"a.png#{x},{y},12,12"], pixels[y : y + h, x : x + w])
