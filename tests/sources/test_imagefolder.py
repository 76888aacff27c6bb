import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import sources
from pipeline.errors import UserError
from pipeline.images import encode_png
from pipeline.source_lock import read_bytes
from tests.builders import image_folder, picture, save
from tests.tiny import ROOT


def found(root: Path) -> list[tuple[str, str, str | None]]:
    return [(file.name, file.label, file.split) for file in sources.files(str(root))]


def test_without_splits(tmp_path: Path) -> None:
    image_folder(tmp_path, {"dog": 1, "cat": 2})
    assert found(tmp_path) == [
        ("cat/000.png", "cat", None),
        ("cat/001.png", "cat", None),
        ("dog/000.png", "dog", None),
    ]


def test_with_splits_by_any_of_their_names(tmp_path: Path) -> None:
    image_folder(tmp_path, {"Training/cat": 1, "valid/cat": 1, "test/dog": 1, "Training/dog": 1})
    assert found(tmp_path) == [
        ("Training/cat/000.png", "cat", "train"),
        ("Training/dog/000.png", "dog", "train"),
        ("test/dog/000.png", "dog", "test"),
        ("valid/cat/000.png", "cat", "val"),
    ]


def test_classes_may_be_called_like_splits(tmp_path: Path) -> None:
    image_folder(tmp_path, {"train": 1, "car": 1, "bus": 1})
    assert [(label, split) for _, label, split in found(tmp_path)] == [("bus", None), ("car", None), ("train", None)]


def test_folders_inside_a_class_belong_to_it(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cat/indoor/2024": 1, "cat": 1, "dog/a": 1})
    assert [(name, label) for name, label, _ in found(tmp_path)] == [
        ("cat/000.png", "cat"),
        ("cat/indoor/2024/000.png", "cat"),
        ("dog/a/000.png", "dog"),
    ]


@pytest.mark.parametrize("split", ["", "train/"])
def test_one_folder_around_everything_is_looked_through(tmp_path: Path, split: str) -> None:
    image_folder(tmp_path, {f"my data/{split}cat": 1, f"my data/{split}dog": 1})
    assert [(label, given) for _, label, given in found(tmp_path)] == [
        ("cat", split.strip("/") or None),
        ("dog", split.strip("/") or None),
    ]


@pytest.mark.parametrize("split", ["", "train/"])
def test_hidden_files_and_folders_and_other_files_are_passed_over(tmp_path: Path, split: str) -> None:
    image_folder(tmp_path, {f"{split}cat": 1, f"{split}dog": 1})
    before = found(tmp_path)
    for name in (
        ".git/objects/a.png",
        f"{split}.thumbs/a.png",
        f"{split}cat/.thumbs/a.png",
        f"{split}cat/.a.png",
        f"{split}cat/notes.txt",
        f"{split}README.md",
        ".DS_Store",
    ):
        save(tmp_path / name, picture(0, 99))
    assert found(tmp_path) == before


def test_other_folders_beside_splits_need_no_image(tmp_path: Path) -> None:
    image_folder(tmp_path, {"train/cat": 1, "train/dog": 1})
    save(tmp_path / "annotations" / "xml" / "a.xml", b"<a/>")
    assert len(found(tmp_path)) == 2


def test_images_outside_a_class_folder_are_passed_over(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cat": 1, "dog": 1})
    save(tmp_path / "logo.png", picture(0, 99))
    assert len(found(tmp_path)) == 2


@pytest.mark.parametrize("split", ["", "train/"])
def test_an_empty_class_is_refused(tmp_path: Path, split: str) -> None:
    image_folder(tmp_path, {f"{split}cat": 1, f"{split}dog": 1})
    save(tmp_path / f"{split}owl" / "notes.txt", b"to do")
    with pytest.raises(UserError, match="class 'owl' holds no image; remove its folder or add images to it"):
        found(tmp_path)


def test_a_class_empty_in_one_split_only_is_none(tmp_path: Path) -> None:
    image_folder(tmp_path, {"train/cat": 1, "train/dog": 1, "test/cat": 1})
    (tmp_path / "test" / "dog").mkdir()
    assert len(found(tmp_path)) == 3


def test_no_class_folder_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", picture(0, 0))
    with pytest.raises(UserError, match=r"holds no class folder; expected .*/CLASS/IMAGE"):
        found(tmp_path)


def test_a_link_to_outside_or_to_nothing_and_a_pipe_cannot_be_read(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside" / "secret.png", picture(0, 0))
    root = image_folder(tmp_path / "in", {"cat": 1, "dog": 1})
    (root / "cat" / "inner.png").symlink_to(root / "cat" / "000.png")
    (root / "cat" / "link.png").symlink_to(outside)
    (root / "cat" / "nothing.png").symlink_to("gone.png")
    os.mkfifo(root / "cat" / "pipe.png")
    data = {file.name: read_bytes(file) for file in sources.files(str(root))}
    whole = {"cat/000.png": picture(0, 0), "cat/inner.png": picture(0, 0), "dog/000.png": picture(1, 0)}
    assert data == dict.fromkeys(data, b"") | {name: encode_png(pixels) for name, pixels in whole.items()}
    assert set(data) - set(whole) == {"cat/link.png", "cat/nothing.png", "cat/pipe.png"}


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "in", {"cat": 1, "dog": 1})
    (root / "cat" / "more").symlink_to(root / "dog")
    with pytest.raises(UserError, match="in/cat/more: is a link to a folder, which is not followed; put the folder"):
        found(root)


def test_a_folder_that_cannot_be_listed_is_refused(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "in", {"cat": 1, "dog": 1, "owl": 1})
    (root / "owl").chmod(0)
    bare = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if bare and shutil.which("setpriv") is None:
        pytest.skip("root reads every folder, and setpriv is not there to take that from it")
    ask = "import sys; from pipeline import sources; list(sources.files(sys.argv[1]))"
    command = [*bare, sys.executable, "-c", ask, str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (root / "owl").chmod(0o755)
    told = f"{root}/owl: the folder cannot be listed (Permission denied); allow it, or move it away"
    assert done.stderr.splitlines()[-1] == f"pipeline.errors.UserError: {told}"


def test_a_name_that_is_no_unicode_is_refused(tmp_path: Path) -> None:
    image_folder(tmp_path, {"cat": 1, "dog": 1})
    save(tmp_path / "cat" / os.fsdecode(b"gr\xfc.png"), picture(0, 9))
    with pytest.raises(UserError, match=r"the name b'cat/gr\\xfc\.png' is no UTF-8; rename the file"):
        found(tmp_path)


def test_a_folder_beside_the_splits_is_no_class(tmp_path: Path) -> None:
    for name in ("train", "test", "extra"):
        image_folder(tmp_path / name, {"cat": 2, "dog": 2})
    with pytest.raises(UserError, match="beside them 'extra': move it away, or into a split"):
        list(sources.files(str(tmp_path)))
