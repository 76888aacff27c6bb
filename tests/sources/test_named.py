import os
from pathlib import Path

import pytest

from pipeline.sources._named import MAX_FILE_BYTES, read_file


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes" * 100_000)
    assert read_file(tmp_path / "a") == b"bytes" * 100_000


def test_a_pipe_is_no_file_and_blocks_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a")
    with pytest.raises(OSError, match="a is no regular file"):
        read_file(tmp_path / "a")


def test_a_file_of_absurd_size_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    os.truncate(tmp_path / "a", MAX_FILE_BYTES + 1)  # zeros that take no place on the disk
    with pytest.raises(OSError, match=f"a has {MAX_FILE_BYTES + 1} bytes, more than {MAX_FILE_BYTES}"):
        read_file(tmp_path / "a")
