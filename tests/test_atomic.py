import json
from pathlib import Path

import pytest

from pipeline import atomic
from tests.builders import digests


def test_a_folder_replaces_the_old_one_whole(tmp_path: Path) -> None:
    out = tmp_path / "a" / "out"
    for name in ("first", "second"):
        with atomic.new_folder(out) as folder:
            assert list(folder.iterdir()) == []
            (folder / name).write_text(name)
            assert not (out / name).exists(), "nothing shows before it is whole"
    assert list(digests(tmp_path)) == ["a/out/second"]


def test_a_failure_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with atomic.new_folder(out) as folder:
        (folder / "old").write_text("old")

    def fail() -> None:
        with atomic.new_folder(out) as folder:
            (folder / "half").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["out", "out/old"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out.txt"
    atomic.write_text(out, "old\n")

    def fail() -> None:
        with atomic.new_file(out) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert out.read_text() == "old\n"
    assert list(out.parent.iterdir()) == [out]


def test_json_is_utf_8_and_only_what_json_can_say(tmp_path: Path) -> None:
    out = tmp_path / "a.json"
    atomic.write_json(out, {"größe": [1, 0.5], "a": None})
    assert out.read_bytes() == '{\n  "größe": [\n    1,\n    0.5\n  ],\n  "a": null\n}\n'.encode()
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(out, {"a": float("nan")})
    assert json.loads(out.read_text(encoding="utf-8"))["a"] is None
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(tmp_path: Path) -> None:
    path = tmp_path / "out[1]"
    with atomic.new_file(path) as being_written:
        being_written.write_text("new")
        left = being_written.with_name(f".{path.name}.{2**22 + 1}.partial")  # no process has so large a number
        other = being_written.with_name(f".elsewhere.{2**22 + 1}.partial")
        for file in (left, other):
            file.write_text("half")
        atomic.remove_left(path)
        assert (left.exists(), other.exists(), being_written.exists()) == (False, True, True)
    assert path.read_text() == "new"
