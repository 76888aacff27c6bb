"""The command line of `predict` and `export_model`."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline import __main__ as cli
from pipeline.dataset import Dataset, PixelStore
from pipeline.prediction.model import open_model
from tests.builders import save
from tests.stages.chain import Chain
from tests.tiny import NAMES, ROOT, bars, write_bars


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    chain = Chain(tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COUNTERWEIGHT_WORKERS", "1")
        patch.setenv("COUNTERWEIGHT_CACHE", str(chain.root / "cache"))
        patch.setenv("COUNTERWEIGHT_CHECKPOINTS", str(chain.root / "checkpoints"))
        chain.train_source()
        chain.train_classifier("models/completed", chain.train)
    return chain


@pytest.fixture
def place(trained: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder with models/completed, and the test images in new/."""
    (tmp_path / "models").symlink_to(trained.root / "models")
    for number, row in enumerate(Dataset.open(trained.test).rows()):
        save(tmp_path / "new" / f"{number:03d}.png", row.image)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    status = cli.main(list(arguments))
    told = capsys.readouterr()
    return status, told.err.splitlines(), told.out


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def test_a_row_for_each_image_in_order(place: Path, trained: Chain, capsys: pytest.CaptureFixture[str]) -> None:
    status, lines, _ = call(capsys, "predict", "new")
    assert status == 0
    assert lines == [
        "predict: 15 of 15 images classified by the mean of 2 networks of models/completed, calibration: none; "
        "in predictions.csv"
    ]
    rows = table((place / "predictions.csv").read_text(encoding="utf-8"))
    probs = open_model(trained.root / "models/completed").ask(PixelStore(Dataset.open(trained.test)).images())
    assert [row["path"] for row in rows] == [f"new/{number:03d}.png" for number in range(15)]
    for row, expected in zip(rows, probs, strict=True):
        order = np.argsort(-expected)
        assert [row[name] for name in ("class", "class_2", "class_3")] == [NAMES[label] for label in order]
        told = [float(row[name]) for name in ("probability", "probability_2", "probability_3")]
        assert told == pytest.approx(expected[order], abs=2e-6)
        assert row["problem"] == ""


def test_more_images_than_are_asked_about_at_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = write_bars(place / "many", [200, 200, 200])
    for number, row in enumerate(Dataset.open(many).rows()):
        save(place / "all" / f"{number:03d}.png", row.image if number % 100 else b"nonsense")
    assert call(capsys, "predict", "all", "--out", "all.parquet", "--top", "1")[0] == 0
    found = pq.read_table(place / "all.parquet").to_pylist()
    assert [row["path"] for row in found] == [f"all/{number:03d}.png" for number in range(600)]
    assert [number for number, row in enumerate(found) if row["problem"]] == list(range(0, 600, 100))
    single = table(call(capsys, "predict", "all/257.png", "--out", "-", "--top", "1")[2])
    assert found[257]["class"] == single[0]["class"]
    assert found[257]["probability"] == pytest.approx(float(single[0]["probability"]), abs=1e-5)


def test_several_places_and_no_more_classes_than_there_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, out = call(capsys, "predict", "new/004.png", "new", "--out", "-", "--top", "9", "--seed", "1")
    assert status == 0
    rows = table(out)
    assert len(rows) == 16
    assert rows[0] == rows[5]
    likely = [f"{name}{end}" for end in ("", "_2", "_3") for name in ("class", "probability")]
    assert list(rows[0]) == ["path", *likely, "problem"]


def test_what_cannot_be_read_is_told_and_the_status_is_0_unless_strict(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(place / "new" / "bad.png", b"nonsense")
    status, lines, out = call(capsys, "predict", "new", "--out", "-")
    assert (status, table(out)[-1]["problem"]) == (0, "no image format known here")
    assert lines[-1].startswith("predict: 15 of 16 images classified by ")
    status, lines, _ = call(capsys, "predict", "new", "--strict")
    told = "error: predict: 1 of 16 images could not be read (first: new/bad.png: no image format known here)"
    assert (status, lines[-1]) == (2, told)
    assert len(table((place / "predictions.csv").read_text(encoding="utf-8"))) == 16  # they are told all the same


def test_where_nothing_could_be_read_it_fails(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(place / "bad.png", b"")
    status, lines, out = call(capsys, "predict", "bad.png", "--out", "-")
    assert (status, lines[-1]) == (2, "error: predict: 1 of 1 images could not be read (first: bad.png: empty file)")
    assert table(out)[0]["problem"] == "empty file"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["predict", "nowhere"], "nowhere: does not exist"),
        (["predict", "empty"], "empty: holds no image; expected files that end in .bmp, "),
        (["predict", "new", "--model", "models/complete"], "models/complete: holds no model ("),
        (["predict", "new", "--top", "0"], "predict: --top must be at least 1, got 0"),
        (["predict", "new", "--out", "t.xls"], "--out t.xls: has no known ending; expected a file NAME.csv, "),
        (["predict", "new", "--out", "file/t.csv"], "file"),
        (["export_model", "--to", "new"], "new: is there already and not empty; name a new folder"),
        (["export_model", "--to", "m", "--seed", "7"], "models/completed: has no network of seed 7; its seeds: 0, 1"),
        (["export_model", "--to", "m", "--model", "new"], "new: holds no model ("),
    ],
)
def test_mistakes_are_one_line(
    place: Path, arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "empty").mkdir()
    (place / "file").write_text("")
    before = sorted(place.rglob("*"))
    status, lines, _ = call(capsys, *arguments)
    assert status == 2
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {line}")
    assert sorted(place.rglob("*")) == before


def test_the_readme_s_commands_run_as_they_stand(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = text.partition("## Use the classifier")[2].partition("```sh\n")[2].partition("```")[0]
    commands = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert [words[:3] for words in commands] == [[".venv/bin/python", "-m", "pipeline"]] * 3
    (place / "path/to/new").mkdir(parents=True)
    (place / "new").rename(place / "path/to/new/images")
    for words in commands:
        assert call(capsys, *words[3:])[0] == 0, words
    by_torch = pd.read_csv(place / "predictions.csv")
    by_onnx = pd.read_parquet(place / "predictions.parquet")
    assert list(by_torch["class"]) == list(by_onnx["class"])
    for name in ("probability", "probability_2", "probability_3"):
        assert by_onnx[name].to_numpy() == pytest.approx(by_torch[name].to_numpy(), abs=1e-5)
    assert {"model.onnx", "model.json"} < {path.name for path in (place / "classifier").iterdir()}


def test_images_of_another_size_and_colour_are_brought_to_the_model_s(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = bars([1])[0, 0]
    large = np.repeat(np.repeat(image, 4, axis=0), 4, axis=1)
    save(place / "a.png", image)
    save(place / "b.png", np.stack([large] * 3, axis=2))
    rows = table(call(capsys, "predict", "a.png", "b.png", "--out", "-")[2])
    assert rows[0]["class"] == rows[1]["class"]
    assert float(rows[0]["probability"]) == pytest.approx(float(rows[1]["probability"]), abs=1e-5)
