import hashlib
import json
import shutil
from pathlib import Path

import pytest

from pipeline import source_lock
from pipeline.errors import UserError
from tests.builders import image_folder, picture, save, scan


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return image_folder(tmp_path / "in", {"cat": 3, "größe M": 2})


def test_a_first_scan_pins_everything_as_one_batch(source: Path, tmp_path: Path) -> None:
    lock = scan(source, tmp_path / "out")
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    lines = [
        f"{name}\t{(source / name).stat().st_size}\t{hashlib.sha256((source / name).read_bytes()).hexdigest()}\n"
        for name in files
    ]
    assert json.loads(lock.read_text(encoding="utf-8"))["ingest"] == {
        "source": str(source),
        "batches": [
            {
                "files": 5,
                "bytes": sum((source / name).stat().st_size for name in files),
                "digest": "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest(),
            }
        ],
    }


def test_nothing_new_leaves_the_file_as_it_is(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lock = scan(source, tmp_path / "out")
    before = lock.read_bytes(), lock.stat().st_mtime_ns
    for path in source.rglob("*.png"):
        path.touch()  # times are never looked at
    assert scan(source, tmp_path / "out") == lock
    assert (lock.read_bytes(), lock.stat().st_mtime_ns) == before
    assert f"scan: ingest: {source}: 5 files, nothing new" in capsys.readouterr().err


def test_new_files_become_a_batch_of_their_own(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = json.loads(scan(source, tmp_path / "out").read_text(encoding="utf-8"))
    added = save(source / "cat" / "0 before all.png", picture(0, 50))
    second = json.loads(scan(source, tmp_path / "out").read_text(encoding="utf-8"))
    assert second["ingest"]["batches"][0] == first["ingest"]["batches"][0]
    assert second["members"]["ingest"][0] == first["members"]["ingest"][0]
    assert [batch["files"] for batch in second["ingest"]["batches"]] == [5, 1]
    size = added.stat().st_size
    assert f"scan: ingest: {source}: 1 new files ({size} bytes) in batch 1" in capsys.readouterr().err
    pin = source_lock.read(tmp_path / "out" / "source.json")["ingest"]
    assert pin.batch_of("cat/000.png") == 0
    assert pin.batch_of("cat/0 before all.png") == 1
    assert pin.batch_of("cat/unknown.png") is None


def test_changed_and_gone_files_are_told_and_renew_pins_anew(source: Path, tmp_path: Path) -> None:
    lock = scan(source, tmp_path / "out")
    before = lock.read_bytes()
    save(source / "cat" / "001.png", picture(0, 60))
    (source / "cat" / "002.png").unlink()
    (source / "größe M" / "000.png").unlink()
    save(source / "cat" / "new.png", picture(0, 61))
    with pytest.raises(UserError) as caught:
        scan(source, tmp_path / "out")
    assert str(caught.value) == (
        f"{source}: 1 pinned files changed (first: cat/001.png) and 2 are gone; restore them, or pin what is there now "
        "with `python -m pipeline scan --renew`"
    )
    assert lock.read_bytes() == before
    renewed = json.loads(scan(source, tmp_path / "out", renew=True).read_text(encoding="utf-8"))
    assert [batch["files"] for batch in renewed["ingest"]["batches"]] == [4]


def test_files_that_are_only_gone_are_told(source: Path, tmp_path: Path) -> None:
    scan(source, tmp_path / "out")
    (source / "cat" / "002.png").unlink()
    with pytest.raises(UserError, match=": 0 pinned files changed and 1 are gone; restore them"):
        scan(source, tmp_path / "out")


def test_the_pin_does_not_depend_on_the_order_of_scans_or_on_the_place(source: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(source, tmp_path / "copy")
    one, two = (json.loads(scan(path, tmp_path / path.name).read_text(encoding="utf-8")) for path in (source, copy))
    assert one["ingest"]["batches"] == two["ingest"]["batches"]


def test_another_source_is_pinned_from_the_beginning(source: Path, tmp_path: Path) -> None:
    scan("builtin:digits", tmp_path / "out", "builtin:glyphs")
    lock = scan(source, tmp_path / "out")
    pins = source_lock.read(lock)
    assert [batch.files for batch in pins["ingest"].batches] == [5]
    assert pins["ingest_source"].source == "none"
    assert pins["ingest_source"].batches == ()


@pytest.mark.parametrize("section", ["", "ingest:\n", "ingest: 3\n", "ingest: {source: 3}\n", "ingest: []\n"])
def test_no_source_is_told(tmp_path: Path, section: str) -> None:
    from pipeline.commands import scan as command

    (tmp_path / "params.yaml").write_text(section + "other: 1\n")
    with pytest.raises(UserError, match=r"params\.yaml: ingest\.source must name a source, got (None|3)$"):
        command.run(tmp_path / "params.yaml", tmp_path / "source.json")
