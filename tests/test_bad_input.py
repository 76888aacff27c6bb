"""What a user may do wrong, typed at the real command line: exit status 2 and one clear line a problem."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.dataset import Dataset
from tests.builders import image_folder, save
from tests.tiny import ROOT

OUTPUTS = ("train", "val", "test", "quarantine", "metrics.json")
INGEST = ["ingest", "--lock", "source.json", *(word for out in OUTPUTS for word in (f"--{out.split('.')[0]}", out))]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a copy of the project's params.yaml."""
    folder = tmp_path / "project"
    folder.mkdir()
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    return folder


def call(project: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and lines on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stderr.splitlines()


def errors(project: Path, *arguments: str) -> list[str]:
    status, lines = call(project, *arguments)
    assert status == 2, lines
    found = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    assert found == [line.removeprefix("error: ") for line in lines if not line.startswith(("scan", "ingest"))]
    return found


def edit(project: Path, section: str, **changes: object) -> None:
    content = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    content[section] = content.get(section, {}) | changes
    (project / "params.yaml").write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def test_a_missing_source(project: Path) -> None:
    (line,) = errors(project, "configure", "../no such folder")
    assert line.startswith("source '../no such folder' does not exist; known kinds: archive, ")


def test_an_empty_class(project: Path, tiny_source: Path) -> None:
    (tiny_source / "owl").mkdir()
    edit(project, "ingest", source=str(tiny_source))
    (line,) = errors(project, "scan")
    assert line == f"{tiny_source}: class 'owl' holds no image; remove its folder or add images to it"


def test_a_single_class(project: Path, tmp_path: Path) -> None:
    source = image_folder(tmp_path / "in", {"cat": 3})
    edit(project, "ingest", source=str(source))
    edit(project, "ingest_source", source="none")
    assert call(project, "scan")[0] == 0
    assert errors(project, *INGEST) == [
        f"{source}: holds only the class 'cat'; a classifier needs at least two classes"
    ]


def test_every_image_corrupt(project: Path, tmp_path: Path) -> None:
    for name in ("cat/0.png", "dog/0.png"):
        save(tmp_path / "in" / name, b"nonsense")
    edit(project, "ingest", source=str(tmp_path / "in"))
    edit(project, "ingest_source", source="none")
    assert call(project, "scan")[0] == 0
    (line,) = errors(project, *INGEST)
    assert "2 of 2 images can't be used (2 times: no image format known here; first: cat/0.png)" in line
    assert sorted(path.name for path in project.iterdir()) == ["params.yaml", "source.json"]


def test_everything_wrong_in_params_yaml_at_once(project: Path) -> None:
    edit(project, "ingest", val_fractoin=0.1, test_fraction=0.9)
    edit(project, "augment", weight="heavy")
    edit(project, "train_generator", name="vea")
    edit(project, "reprot")
    found = errors(project, "check")
    assert found == sorted(found, key=lambda line: ("unknown section" not in line, line))
    for expected in (
        "params.yaml: unknown section 'reprot'; did you mean 'report'?",
        "params.yaml: augment.weight should be a valid number, got 'heavy'",
        "params.yaml: ingest.test_fraction should be less than 0.5, got 0.9",
        "params.yaml: ingest.val_fractoin: unknown key; did you mean 'val_fraction'?",
    ):
        assert any(line.startswith(expected) for line in found), (expected, found)
    assert sum("train_generator" in line and "unknown generator 'vea'" in line for line in found) == 1
    assert len(found) == 5


def test_a_stage_tells_what_is_wrong_with_its_section(project: Path) -> None:
    edit(project, "ingest", seed=1.5, fit="stretch")
    assert errors(project, *INGEST) == [
        "params.yaml: ingest.fit should be 'crop' or 'pad', got 'stretch'",
        "params.yaml: ingest.seed should be a valid integer, got 1.5",
    ]


def test_an_unknown_stage(project: Path) -> None:
    (line,) = errors(project, "synthesise")
    assert line.startswith("unknown stage 'synthesise'; did you mean 'synthesize'? Known: analyze_bias, ")


def test_no_params_yaml(project: Path) -> None:
    (line,) = errors(project, "check", "--params-file", "nowhere.yaml")
    assert line.startswith("nowhere.yaml: cannot be read (No such file or directory)")


def test_params_yaml_that_is_no_yaml(project: Path) -> None:
    (project / "params.yaml").write_text("ingest: {source: [\n")
    for command in ("check", "scan"):
        (line,) = errors(project, command)
        assert line.startswith("params.yaml: is no YAML (while parsing")


def test_a_folder_that_holds_no_data_set(project: Path) -> None:
    (line,) = errors(project, "augment", "--train", "train", "--plan", "p.json", "--out", "o", "--metrics", "m.json")
    assert line.startswith("train: no data set here")


def test_names_with_spaces_and_letters_of_any_script_work(project: Path, tmp_path: Path) -> None:
    source = image_folder(tmp_path / "mes données", {"größe M": 4, "chat noir": 3, "猫 %s": 3})
    save(source / "猫 %s" / "bild 1.png", b"nonsense")
    edit(project, "ingest", max_bad_fraction=0.2)
    for command in (["configure", str(source)], ["scan"], INGEST):
        status, lines = call(project, *command)
        assert status == 0, lines
    assert Dataset.open(project / "train").class_names == ("chat noir", "größe M", "猫 %s")
    assert "猫 %s/bild 1.png,no image format known here," in (project / "quarantine" / "quarantine.csv").read_text(
        "utf-8"
    )
