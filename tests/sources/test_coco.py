"""COCO instances: boxes as images, categories as classes."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline import sources
from pipeline.errors import UserError
from pipeline.source_lock import read_bytes
from pipeline.sources import SourceFile, _json_stream
from pipeline.sources import coco as module
from tests.builders import build, picture, save
from tests.formats import coco

SIZES = {"a.png": (24, 12), "b.png": (12, 12)}
BOXES = [("b.png", "cat", [1, 2, 8, 9]), ("a.png", "dog", [0, 0, 12, 12]), ("a.png", "cat", [12.4, 0.4, 11.2, 11.2])]


def drawn(folder: Path, names: dict[str, tuple[int, int]] = SIZES) -> Path:
    for number, (name, (width, height)) in enumerate(names.items()):
        save(folder / name, picture(number, 0, height, width))
    return folder


def found(path: Path) -> list[tuple[str, str, str | None, str | None]]:
    return [(file.name, file.label, file.split, file.group) for file in sources.files(str(path))]


EXPECTED = [
    ("a.png#0,0,12,12", "dog", None, "a.png"),
    ("a.png#12,0,12,12", "cat", None, "a.png"),  # edges at 12.4, 0.4, 23.6 and 11.6
    ("b.png#1,2,8,9", "cat", None, "b.png"),
]


@pytest.mark.parametrize("images", ["", "images", "..", "../images", "../images/train2017"])
def test_boxes_file_by_file_wherever_the_images_are(tmp_path: Path, images: str) -> None:
    table = coco(tmp_path / "annotations" / "instances.json", SIZES, BOXES)
    drawn(tmp_path / "annotations" / images)
    assert found(table) == EXPECTED


def test_each_split_has_its_images(tmp_path: Path) -> None:
    for split in ("train2017", "val2017"):
        coco(tmp_path / "annotations" / f"instances_{split}.json", SIZES, BOXES)
        drawn(tmp_path / split)
    assert found(tmp_path) == [
        (f"annotations/instances_{split}2017/{name}", label, split, f"{split}2017/{group}")
        for split in ("train", "val")
        for name, label, _, group in EXPECTED
    ]


def test_the_layout_of_roboflow(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        coco(drawn(tmp_path / split) / "_annotations.coco.json", SIZES, BOXES)
    assert {split for _, _, split, _ in found(tmp_path)} == {"train", "val", "test"}
    assert len(found(tmp_path)) == 9


def test_crowds_are_passed_over_and_what_is_not_asked_for_too(tmp_path: Path) -> None:
    crowd = {"id": 99, "image_id": 10, "category_id": 0, "iscrowd": 1, "segmentation": {"counts": [1] * 5000}}
    more = {"annotations": [crowd], "images": [{"id": 98, "file_name": "unlabelled.png"}], "videos": {"a": [[1]]}}
    assert found(coco(drawn(tmp_path) / "i.json", SIZES, BOXES, **more)) == EXPECTED


def test_the_same_box_twice_is_one_image_unless_its_category_differs(tmp_path: Path) -> None:
    boxes = [("a.png", "cat", [0, 0, 4, 4])] * 2 + [("a.png", "dog", [0, 0, 4, 4]), ("a.png", "owl", [0, 0, 4, 4])]
    assert [name for name, *_ in found(coco(drawn(tmp_path) / "i.json", SIZES, boxes))] == [
        "a.png#0,0,4,4",
        "a.png#2#0,0,4,4",
        "a.png#3#0,0,4,4",
    ]


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize("order", [["categories", "annotations", "images"], ["annotations", "images", "categories"]])
def test_the_order_of_the_lists_and_blanks_change_nothing(tmp_path: Path, order: list[str], indent: int | None) -> None:
    content = json.loads(coco(drawn(tmp_path) / "i.json", SIZES, BOXES).read_text())
    (tmp_path / "i.json").write_text(json.dumps({key: content[key] for key in order}, indent=indent))
    assert sorted(found(tmp_path / "i.json")) == EXPECTED


def test_a_file_is_read_once_for_all_its_boxes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    monkeypatch.setattr(module, "read_file", lambda path: read.append(path.name) or path.read_bytes())
    boxes = [(name, "cat", [number, 0, 4, 4]) for number in range(5) for name in SIZES]
    files = list(sources.files(str(coco(drawn(tmp_path) / "i.json", SIZES, boxes))))
    assert len({file.read() for file in files}) == 2
    assert read == ["a.png", "b.png"]


def test_boxes_that_are_empty_or_leave_the_image_and_missing_files_are_quarantined(tmp_path: Path) -> None:
    sizes = SIZES | {"gone.png": (9, 9)}
    good = [("a.png", name, [x, 0, 6, 6]) for name in ("cat", "dog") for x in (0, 6, 12)]
    good = [(file, name, [x, 6 * (name == "dog"), w, h]) for file, name, (x, _, w, h) in good]
    odd = [[20, 0, 6, 6], [-3, 0, 6, 6], [0, 0, 0.3, 6], [0, 0, -2, 6], [1e300, 0, 1, 1]]
    boxes = [*good, *(("a.png", "cat", box) for box in odd), ("gone.png", "cat", [0, 0, 4, 4])]
    built = build(coco(drawn(tmp_path) / "i.json", sizes, boxes), tmp_path / "out", image_size=4, max_bad_fraction=0.9)
    assert {line["name"] for line in built.quarantine} == {
        "a.png#20,0,6,6",
        "a.png#-3,0,6,6",
        "a.png#0,0,0,6",
        "a.png#0,0,-2,6",
        "a.png#1073741824,0,0,1",
        "gone.png#0,0,4,4",
    }
    assert sum(map(sum, map(built.counts, ("train", "val", "test")))) == 6


def test_the_box_is_what_is_cut_out(tmp_path: Path) -> None:
    pixels = picture(0, 0, 12, 24)
    save(tmp_path / "a.png", pixels)
    boxes = [("a.png", name, [x, y, 6, 6]) for x, name in ((0, "cat"), (9, "dog"), (18, "elk")) for y in (0, 6)]
    table = coco(tmp_path / "i.json", {"a.png": (24, 12)}, boxes)
    built = build(table, tmp_path / "out", image_size=6, val_fraction=0.0, test_fraction=0.0)
    train = built.split("train")
    images = {row.path: image for row, image in zip(train.rows(), train.images(), strict=True)}
    assert len(images) == 6
    for _, _, (x, y, w, h) in boxes:
        np.testing.assert_array_equal(images[f"a.png#{x},{y},6,6"], pixels[y : y + h, x : x + w])


def one(**changes: Any) -> dict[str, Any]:
    return {"id": 9, "image_id": 10, "category_id": 0, "bbox": [0, 0, 1, 1]} | changes


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"annotations": [one(image_id=77)]}, "an annotation has the image_id 77, which is not in the file"),
        ({"annotations": [one(category_id="x")]}, "an annotation has the category_id 'x', which is not in the file"),
        (
            {"annotations": [one(image_id=[1])]},
            r"number 4 of annotations: image_id must be a number or text, got '\[1\]'",
        ),
        (
            {"annotations": [one(bbox=[1, 2, 3])]},
            r"number 4 of annotations: a box must be four numbers x, y, w, h, got \[",
        ),
        ({"annotations": [one(bbox=[math.nan] * 4)]}, "number 4 of annotations: a box must be four finite numbers"),
        ({"annotations": [one(bbox="all")]}, "number 4 of annotations: a box must be four numbers"),
        ({"annotations": [{"image_id": 10, "category_id": 0}]}, "number 4 of annotations: has no bbox"),
        ({"annotations": ["box"]}, "number 4 of annotations: is no object"),
        ({"images": [{"id": 10, "file_name": "c.png"}]}, "number 3 of images: the id 10 is there twice"),
        (
            {"images": [{"id": 5, "file_name": "../c.png"}]},
            r"number 3 of images: '\.\./c\.png' points outside its folder",
        ),
        ({"images": [{"id": 5}]}, "number 3 of images: file_name must be text, got 'None'"),
        ({"categories": [{"id": 5, "name": ""}]}, "number 3 of categories: has no name"),
        ({"categories": 5}, "number 1 of categories: is no object"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, more: dict[str, Any], line: str) -> None:
    table = coco(drawn(tmp_path) / "i.json", SIZES, BOXES, **more)
    with pytest.raises(UserError, match=rf"i\.json: {line}") as caught:
        found(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is no JSON object that can be read (expected {, found the end)"),
        ("[]", "is no JSON object that can be read (expected {, found '[')"),
        ("{}", "holds no images and no annotations and no categories; a COCO instances file holds the lists"),
        ('{"images": [', "is no JSON object that can be read (Expecting value"),
        ('{"info": [{}', "is no JSON object that can be read (expected , or ], found the end)"),
        ('{"info": [{"id": 1}] "a"', "is no JSON object that can be read (expected , or }, found '\"')"),
        ('{"a": 1} 2', "is no JSON object that can be read (more follows after the object's end)"),
        ("{1: 2}", "is no JSON object that can be read (a key is 1)"),
        ('{"info": ' + "[" * 100_000, "is no JSON object that can be read (maximum recursion depth exceeded"),
        (
            '{"info": "' + "x" * (2 * _json_stream.MAX_VALUE_CHARS),
            "is no JSON object that can be read (a value has more than",
        ),
        (
            '{"images": [{"id": 1, "file_name": "\udcff"}]}',
            "is no JSON object that can be read ('utf-8' codec can't decode",
        ),
    ],
)
def test_a_file_that_is_no_coco_json_is_told(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "i.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError) as caught:
        found(tmp_path / "i.json")
    assert str(caught.value).startswith(f"{tmp_path}/i.json: {line}")
    assert "\n" not in str(caught.value)


def test_images_that_are_nowhere_or_in_two_places_are_told(tmp_path: Path) -> None:
    table = coco(tmp_path / "a" / "annotations" / "i.json", SIZES, BOXES)
    with pytest.raises(
        UserError, match=r"its images, such as 'a\.png', are neither beside it nor in a folder there or above"
    ):
        found(table)
    drawn(tmp_path / "a" / "large")
    drawn(tmp_path / "a" / "small")
    with pytest.raises(UserError, match=r"may lie in .*/large or in .*/small; move one of them away"):
        found(table)


def test_links_out_of_the_images_folder_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "outside" / "a.png", picture(0, 0))
    table = coco(tmp_path / "in" / "i.json", SIZES, BOXES)
    (tmp_path / "in" / "a.png").symlink_to(tmp_path / "outside" / "a.png")
    with pytest.raises(UserError, match=r"i\.json: 'a\.png' is a link to outside its folder$"):
        found(table)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_the_stream_says_what_json_says_however_it_is_cut(
    tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_json_stream, "CHUNK", chunk)
    content = {
        "a": [
            1,
            -20.5e3,
            'x\\"\u00e4\ud83d\ude00'.encode("utf-16", "surrogatepass").decode("utf-16"),
            None,
            [1, {"b": []}],
        ],
        "n": 12345,
        "o": {"k": [True]},
        "empty": [],
        "last": 1.5,
    }
    (tmp_path / "a.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    assert list(_json_stream.elements(tmp_path / "a.json")) == [
        *(("a", element) for element in content["a"]),  # type: ignore[attr-defined]
        ("n", 12345),
        ("o", {"k": [True]}),
        ("last", 1.5),
    ]


def test_what_is_missing_is_read_as_nothing(tmp_path: Path) -> None:
    files: list[SourceFile] = list(sources.files(str(coco(drawn(tmp_path) / "i.json", SIZES, BOXES))))
    (tmp_path / "b.png").unlink()
    assert [len(read_bytes(file)) > 0 for file in files] == [True, True, False]
