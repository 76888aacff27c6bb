"""The command line of `export`."""

from pathlib import Path

import pytest

from pipeline import __main__ as cli
from tests.builders import digests, write_dataset


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "real" / "train", {"cat": 2, "dog": 1})
    write_dataset(tmp_path / "real" / "test", {"cat": 1, "dog": 1}, split="test")
    return write_dataset(tmp_path / "synthetic", {"cat": 0, "dog": 3}, origin="synthetic")


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    status = cli.main(["export", *arguments])
    return status, capsys.readouterr().err.strip()


def test_data_sets_by_position_and_a_format(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = call(capsys, "real", "synthetic", "--to", "out", "--format", "hf_parquet")
    assert (status, line) == (0, "export: 8 images of 2 classes in out")
    assert sorted(digests(Path("out"))) == ["data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"]


def test_folders_of_images_unless_told_otherwise(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "real/train", "--to", "new/out")[0] == 0
    assert len(list(Path("new/out/train/cat").glob("*.png"))) == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["real", "--to", "out", "--format", "webdatset"],
            "unknown format 'webdatset'; did you mean 'webdataset'? Known: ",
        ),
        (["nowhere", "--to", "out"], "nowhere: no data set here (expected Parquet shards); has its stage run?"),
        (["real", "other", "--to", "out"], "data sets with different classes cannot be joined: "),
        (["real", "--to", "real"], "real: is there already and not empty; name a new folder"),
        (["real", "--to", "file"], "file: is there already and not empty; name a new folder"),
        (
            ["real", "--to", "real/train/out"],
            "real/train/out: lies in the data set real/train; name a folder outside it",
        ),
        (["empty", "--to", "out"], "empty: holds no image to export"),
    ],
)
def test_mistakes_are_one_line(
    data: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_dataset(tmp_path / "other", {"owl": 1})
    write_dataset(tmp_path / "empty", {"cat": 0, "dog": 0})
    (tmp_path / "file").write_text("here")
    before = digests(tmp_path)
    status, error = call(capsys, *arguments)
    assert status == 2
    assert error.startswith(f"error: {line}")
    assert "\n" not in error
    assert digests(tmp_path) == before
