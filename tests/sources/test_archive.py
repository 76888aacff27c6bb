import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import sources
from pipeline.errors import UserError
from pipeline.source_lock import read_bytes
from pipeline.sources.archive import MAX_MEMBER_BYTES
from tests.builders import image_folder, picture, save, tar_of, zip_of

COUNTS = {"cat": 2, "dog": 1}
PACK: dict[str, Callable[..., Path]] = {"zip": zip_of, "tar": tar_of}
both = pytest.mark.parametrize("kind", PACK)


def found(path: Path) -> list[tuple[str, str, str | None]]:
    return [(file.name, file.label, file.split) for file in sources.files(str(path))]


@both
@pytest.mark.parametrize("top", ["", "my data/", "./", "./my data/"])
def test_the_folder_around_everything_is_looked_through(tmp_path: Path, kind: str, top: str) -> None:
    path = PACK[kind](image_folder(tmp_path / "in", COUNTS), tmp_path / f"a.{kind}", top=top)
    assert [(label, split) for _, label, split in found(path)] == [("cat", None), ("cat", None), ("dog", None)]


@both
def test_splits_hidden_files_and_what_a_mac_adds(tmp_path: Path, kind: str) -> None:
    folder = image_folder(tmp_path / "in", {"train/cat": 1, "train/dog": 1, "test/cat": 1})
    save(folder / "__MACOSX" / "train" / "cat" / "._000.png", b"resource fork")
    save(folder / "train" / ".ipynb_checkpoints" / "a.png", picture(0, 9))
    path = PACK[kind](folder, tmp_path / f"a.{kind}", top="my data/")
    assert sorted(found(path)) == [
        ("my data/test/cat/000.png", "cat", "test"),
        ("my data/train/cat/000.png", "cat", "train"),
        ("my data/train/dog/000.png", "dog", "train"),
    ]


@both
def test_no_class_folder_is_refused(tmp_path: Path, kind: str) -> None:
    save(tmp_path / "in" / "a.png", picture(0, 0))
    with pytest.raises(UserError, match="holds no class folder; expected CLASS/IMAGE or train/CLASS/IMAGE inside"):
        found(PACK[kind](tmp_path / "in", tmp_path / f"a.{kind}"))


def hostile(kind: str, path: Path, name: str, *, link: bool = False, size: int = 4) -> Path:
    """An archive with two honest members and a hostile one."""
    image_folder(path.parent / "in", COUNTS)
    PACK[kind](path.parent / "in", path)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive:
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o120777 if link else 0o100644) << 16
            archive.writestr(member, "evil")
            member.file_size = size  # what the directory at the end will say
        return path
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.size = (tarfile.SYMTYPE, "/etc/passwd", 0) if link else (tarfile.REGTYPE, "", 4)
        end = tar.offset
        tar.addfile(info, None if link else io.BytesIO(b"evil"))
    if size != 4:
        info.size = size
        with path.open("r+b") as file:
            file.seek(end)
            file.write(info.tobuf())
        os.truncate(path, end + 512 + size + 2048)  # zeros that take no place on the disk
    return path


@both
@pytest.mark.parametrize("name", ["../evil.png", "/cat/evil.png", "cat/../../evil.png", "C:/evil.png", "cat\\..\\evil"])
def test_members_outside_the_archive_are_refused(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(UserError, match=r"refused, since '.*evil.*' points outside the archive$"):
        found(hostile(kind, tmp_path / f"a.{kind}", name))


@both
def test_links_are_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=r"refused, since 'cat/evil\.png' is a link or a device, not a file$"):
        found(hostile(kind, tmp_path / f"a.{kind}", "cat/evil.png", link=True))


@both
def test_huge_members_are_refused(tmp_path: Path, kind: str) -> None:
    size = MAX_MEMBER_BYTES + 1
    with pytest.raises(UserError, match=rf"'cat/evil\.png' unpacks to {size} bytes, more than {MAX_MEMBER_BYTES}$"):
        found(hostile(kind, tmp_path / f"a.{kind}", "cat/evil.png", size=size))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("kept", [0.4, 0.7])
def test_a_tar_cut_off_is_refused(tmp_path: Path, mode: str, kept: float) -> None:
    path = tar_of(image_folder(tmp_path / "in", {"cat": 20, "dog": 20}), tmp_path / "a.tar", mode=mode)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"is a damaged archive \(.+\)$"):
        found(path)


def test_a_tar_with_a_damaged_header_or_no_end_is_refused(tmp_path: Path) -> None:
    path = tar_of(image_folder(tmp_path / "in", {"cat": 2, "dog": 2}), tmp_path / "a.tar")
    with tarfile.open(path) as archive:
        third = archive.getmembers()[2].offset
    content = bytearray(path.read_bytes())
    path.write_bytes(content[:third])
    with pytest.raises(UserError, match=f"is a damaged archive .no member and no end at byte {third}"):
        found(path)
    content[third] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"is a damaged archive .no member and no end at byte {third}"):
        found(path)


def test_a_gzip_whose_checksum_is_wrong_is_refused(tmp_path: Path) -> None:
    path = tar_of(image_folder(tmp_path / "in", COUNTS), tmp_path / "a.tar.gz", mode="w:gz")
    content = bytearray(path.read_bytes())
    content[-8] ^= 255
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"is a damaged archive \(CRC check failed"):
        found(path)


def test_a_zip_cut_off_is_refused(tmp_path: Path) -> None:
    path = zip_of(image_folder(tmp_path / "in", COUNTS), tmp_path / "a.zip")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"a\.zip' is damaged or of no known kind"):
        found(path)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_damaged_member_of_a_zip_counts_as_empty(tmp_path: Path, compression: int) -> None:
    path = zip_of(image_folder(tmp_path / "in", COUNTS), tmp_path / "a.zip", compression=compression)
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo("cat/001.png")
        start = member.header_offset + 30 + len(member.filename)
    content = bytearray(path.read_bytes())
    content[start : start + 8] = b"\xff" * 8
    path.write_bytes(content)
    assert [len(read_bytes(file)) > 0 for file in sources.files(str(path))] == [True, False, True]
