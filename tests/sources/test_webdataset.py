"""WebDataset shards, written by its own library."""

import gzip
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline import sources
from pipeline.errors import UserError
from pipeline.images import encode_png
from pipeline.source_lock import read_bytes
from pipeline.sources import _braces, _tar
from tests.builders import build, image_folder, picture, save, tar_of, zst_of
from tests.formats import samples, web_dataset

COUNTS = {"cat": 2, "größe M": 1}
PNG = encode_png(picture(0, 0))


def found(source: Path | str) -> list[tuple[str, str, str | None]]:
    return [(file.name, file.label, file.split) for file in sources.files(str(source))]


def tar(path: Path, members: Iterable[tuple[str, bytes]], mode: str = "w") -> Path:
    """A tar of members as they are given, whatever a writer of samples would say to them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_numbers_are_named_by_classes_txt(tmp_path: Path) -> None:
    path = web_dataset(tmp_path / "a.tar", samples(COUNTS))
    assert [label for _, label, _ in found(path)] == ["0", "0", "1"]
    (tmp_path / "classes.txt").write_text("cat\nowl\n", encoding="utf-8")
    assert found(path) == [
        ("a.tar/000000.png", "cat", None),
        ("a.tar/000001.png", "cat", None),
        ("a.tar/100000.png", "owl", None),
    ]


@pytest.mark.parametrize(
    ("members", "label", "split", "group"),
    [
        ([("a.cls", b"3"), ("a.jpg", PNG)], "elk", None, None),
        ([("a.jpg", PNG), ("a.cls", b" owl\n")], "owl", None, None),
        ([("d/a.rgb.png", PNG), ("d/a.json", b'{"label": 2}'), ("d/b.cls", b"0"), ("d/b.png", PNG)], "dog", None, None),
        ([("a.json", b'{"category": "cat", "split": "val", "patient": 7}'), ("a.png", PNG)], "cat", "val", "7"),
        ([("a.cls", b"1"), ("a.json", b'{"label": "dog", "subset": "test"}'), ("a.png", PNG)], "owl", "test", None),
    ],
)
def test_where_a_sample_s_class_comes_from(
    tmp_path: Path, members: list[tuple[str, bytes]], label: str, split: str | None, group: str | None
) -> None:
    (tmp_path / "classes.txt").write_text("cat\nowl\ndog\nelk\n")
    tar(tmp_path / "a.tar", members)
    files = iter(sources.files(str(tmp_path)))
    file = next(files)
    assert (file.label, file.split, file.group, file.read()) == (label, split, group, PNG)


def test_a_label_that_is_text_is_the_class_even_if_it_looks_like_a_number(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("7\n3\n")
    tar(
        tmp_path / "a.tar", [("a.json", b'{"label": "3"}'), ("a.png", PNG), ("b.json", b'{"label": 0}'), ("b.png", PNG)]
    )
    assert [label for _, label, _ in found(tmp_path)] == ["3", "7"]


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train-0.tar", "train-1.tar", "val-0.tar"], ["train", "train", "val"]),
        (["train/0.tar", "test/0.tar.gz"], ["test", "train"]),
        (["a.tar", "b.tgz"], [None, None]),
    ],
)
def test_splits_come_from_the_shards_names(tmp_path: Path, names: list[str], splits: list[str | None]) -> None:
    for name in names:
        tar(tmp_path / name, [("a.cls", b"1"), ("a.png", PNG)], mode="w:gz" if name.endswith("gz") else "w")
    assert [split for *_, split in found(tmp_path)] == splits


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.zst"])
def test_packed_shards_are_read_forwards_once(tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = web_dataset(tmp_path / "s.tar", samples({"a": 20, "b": 20}))
    if ending == "tar.gz":
        path = path.with_name("s.tar.gz")
        path.write_bytes(gzip.compress((tmp_path / "s.tar").read_bytes()))
    elif ending == "tar.zst":
        path = zst_of(path)
    opened: list[Path] = []
    real = _tar._opened
    files = sources.find(str(path)).files(str(path))
    monkeypatch.setattr(_tar, "_opened", lambda path: opened.append(path) or real(path))
    expected = [picture(label, number) for label in range(2) for number in range(20)]
    assert [file.read() for file in files] == [encode_png(pixels) for pixels in expected]
    assert opened == [path, path], "one pass for the labels and one for the images"


def test_a_pattern_of_shards(tmp_path: Path) -> None:
    for number in range(9, 12):
        web_dataset(tmp_path / "s" / f"p-{number:03d}.tar", samples({"a": 1}, start=number))
    assert [name for name, *_ in found(f"{tmp_path}/s/p-{{009..011}}.tar")] == [
        f"p-{number:03d}.tar/0{number:05d}.png" for number in range(9, 12)
    ]
    with pytest.raises(UserError, match=r"there is no .*/s/p-012\.tar$"):
        found(f"{tmp_path}/s/p-{{009..012}}.tar")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a-{08..11}.tar", ["a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"]),
        ("{x,y}/{0..1}", ["x/0", "x/1", "y/0", "y/1"]),
        ("{a,}b", ["ab", "b"]),
    ],
)
def test_braces(pattern: str, names: list[str]) -> None:
    assert _braces.is_pattern(pattern)
    assert _braces.expand(pattern) == names


@pytest.mark.parametrize(
    ("pattern", "line"),
    [
        ("a{0..999999999}", r"\{0\.\.999999999\} must rise, by at most 100000"),
        ("a{5..1}", r"\{5\.\.1\} must rise"),
        ("{0..999}{0..999}{0..999}", "stands for more than 100000 names"),
        ("a{{1,2},3}", r"braces lie in braces or are not closed"),
        ("a{1..x}", r"\{1\.\.x\} is no range and no list; expected such as \{000\.\.010\} or \{a,b\}"),
    ],
)
def test_braces_that_are_wrong(pattern: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        _braces.expand(pattern)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        (
            [("a.cls", b"1"), ("a.png", PNG), ("b.png", PNG)],
            r"sample 'b' has no class; expected a \.cls, or a label in a \.json",
        ),
        ([("a.cls", b"1"), ("a.png", PNG), ("a.jpg", PNG)], "sample 'a' holds more than one image"),
        (
            [("a.cls", b"1"), ("a.png", PNG), ("b.cls", b"1"), ("a.png", PNG), ("a.cls", b"1")],
            "sample 'a' is there twice",
        ),
        ([("a.cls", b"9"), ("a.png", PNG)], r"sample 'a' has the class '9', which is none of the 2 in classes\.txt"),
        (
            [("a.cls", b"elk"), ("a.png", PNG)],
            r"sample 'a' has the class 'elk', which is none of the 2 in classes\.txt",
        ),
        ([("a.cls", b"\xff"), ("a.png", PNG)], r"'a\.cls' is no UTF-8"),
        ([("a.cls", b" "), ("a.png", PNG)], "sample 'a' has no class"),
        ([("a.json", b"{"), ("a.png", PNG)], "sample 'a' is no JSON"),
        ([("a.json", b"[" * 50_000), ("a.png", PNG)], "sample 'a' is no JSON .maximum recursion depth"),
        ([("a.json", b'{"label": 1, "split": "best"}'), ("a.png", PNG)], "sample 'a': unknown split 'best'"),
        ([("a.cls", b"1" * (2**20 + 1)), ("a.png", PNG)], r"'a\.cls' has 1048577 bytes, more than 1048576"),
        ([("a.cls", b"1"), ("../a.png", PNG)], r"refused, since '\.\./a\.png' points outside the archive"),
        ([("notes.txt", b"")], "holds no sample such as"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, members: list[tuple[str, bytes]], line: str) -> None:
    (tmp_path / "classes.txt").write_text("cat\nowl\n")
    tar(tmp_path / "a.tar", members)
    with pytest.raises(UserError, match=line) as caught:
        found(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["a\n\nb\n", "a\na\n"])
def test_classes_txt_must_hold_a_class_a_line(tmp_path: Path, text: str) -> None:
    web_dataset(tmp_path / "a.tar", samples(COUNTS))
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(UserError, match=r"classes\.txt: must hold a class a line, none empty and none twice$"):
        found(tmp_path)


def test_a_link_among_the_samples_is_refused(tmp_path: Path) -> None:
    path = web_dataset(tmp_path / "a.tar", samples(COUNTS))
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("b.png")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(UserError, match=r"refused, since 'b\.png' is a link or a device, not a file$"):
        found(path)


def test_a_shard_cut_off_is_told(tmp_path: Path) -> None:
    path = web_dataset(tmp_path / "a.tar", samples(COUNTS))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"a\.tar: is a damaged archive"):
        found(tmp_path)


def test_a_sample_without_an_image_is_quarantined(tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [("a.cls", b"1"), ("b.cls", b"1"), ("b.png", PNG), ("c.cls", b"0"), ("c.mp4", b"film")])
    files = list(sources.files(str(tmp_path)))
    assert [(file.name, read_bytes(file)) for file in files if "b" not in file.name] == [
        ("a.tar/a", b""),
        ("a.tar/c", b""),
    ]


def test_an_archive_of_folders_with_notes_beside_the_images_is_no_webdataset(tmp_path: Path) -> None:
    folder = image_folder(tmp_path / "in", {"cat": 2, "dog": 2})
    save(folder / "cat" / "000.json", b"{}")
    assert sources.find(str(tar_of(folder, tmp_path / "a.tar"))).__name__ == "pipeline.sources.archive"


def test_ingest_reads_it(tmp_path: Path) -> None:
    web_dataset(tmp_path / "in" / "a.tar", samples({"cat": 12, "dog": 12}), ["cat", "dog"])
    built = build(tmp_path / "in", tmp_path / "out", val_fraction=0.0, test_fraction=0.0)
    train = built.split("train")
    assert train.class_names == ("cat", "dog")
    expected = {encode_png(picture(label, number)) for label in range(2) for number in range(12)}
    assert {encode_png(image) for image in train.images()} == expected
    assert np.array_equal(train.labels, [0] * 12 + [1] * 12)
