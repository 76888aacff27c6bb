"""What the terminal shows at the end, from files as the stages write them."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.atomic import write_json
from pipeline.commands import verdict
from pipeline.metrics.arms import APART, ARMS
from pipeline.metrics.looks import Look
from pipeline.metrics.summary import Known, Settings, summarise
from pipeline.report.arms import ClassRow, Figure

FIRST = Known(look=Look(1, 0.05))


def write_results(
    folder: Path,
    names: list[str],
    num_test: int = 20,
    right: tuple[int, ...] = (8, 9, 12, 16),
    arms: tuple[str, ...] = (*ARMS, *APART),
) -> list[str]:
    """Two seeds; in every class arm k is right on `right[k]` of the test images. Returns the command's options."""
    labels = np.repeat(np.arange(len(names)), num_test)
    probs = {}
    for arm, hits in zip(arms[: len(right)], right, strict=True):
        predicted = np.where(np.tile(np.arange(num_test), len(names)) < hits, labels, (labels + 1) % len(names))
        probs[arm] = np.eye(len(names))[np.stack([predicted, predicted])]
    settings = Settings(
        num_resamples=6000, seed=0, max_class_loss=0.05, min_test_images=10, min_seeds=2, many_above=9, few_up_to=3
    )
    real = {name: 2 + place for place, name in enumerate(names)}
    write_json(
        folder / "evaluate.json", summarise(labels, names, np.array(list(real.values())), probs, settings, FIRST)
    )
    write_json(folder / "ingest.json", {"images": {"train": real}})
    write_json(folder / "augment.json", {"images": dict.fromkeys(names, 4)})
    write_json(folder / "synthesize.json", {"classes": {name: {"accepted": 3} for name in names}})
    options = {"metrics": "evaluate", "ingest": "ingest", "augment": "augment", "synthesize": "synthesize"}
    paths = [part for option, name in options.items() for part in (f"--{option}", str(folder / f"{name}.json"))]
    return ["verdict", *paths, "--report", str(folder / "index.html")]


@pytest.mark.parametrize("columns", [80, 120])
def test_table_fits_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    (tmp_path / "index.html").touch()
    assert main(write_results(tmp_path, ["[red]cat", "ein Hund mit einem sehr langen Namen"])) == 0
    printed = capsys.readouterr().out
    table, _, rest = printed.partition("2 training seeds, 40 test images")
    assert all(len(line) <= columns for line in table.splitlines())
    assert "[red]cat" in table
    assert "ein Hund" in table
    row = next(line for line in table.splitlines() if "[red]cat" in line).split()
    assert row[1:4] == ["2", "7", "40.0"]  # real, 4 augmented + 3 synthetic, 8 of 20
    assert all(figure in table for figure in ("40.0", "45.0", "60.0", "80.0"))
    assert "\nSHIP: Completed beats both baselines: +40.0 points" in rest.replace("\n  ", " ")
    assert all(len(line) <= columns for line in rest.partition("Report:")[0].splitlines())
    assert all(line.endswith((",", ";", ":", ".")) for line in rest.partition("SHIP")[2].splitlines()[:-1])
    assert rest.splitlines()[-1] == f"Report: {tmp_path / 'index.html'}"


@pytest.mark.parametrize("columns", [80, 120, 140])
def test_a_baseline_under_another_loss_has_its_column_and_its_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    arms = (*ARMS, "baseline_balanced_contrastive")
    assert main(write_results(tmp_path, ["a", "longer name"], right=(8, 9, 12, 16, 16), arms=arms)) == 0
    table, _, rest = capsys.readouterr().out.partition("2 training seeds")
    assert all(len(line) <= columns for line in table.splitlines())
    row = next(line for line in table.splitlines() if line.startswith((" a ", "a ")))
    figures = [word for word in row.split() if word in {"40.0", "45.0", "60.0", "80.0"}]
    assert figures == ["40.0", "45.0", "80.0", "60.0", "80.0"]
    assert "…" not in table
    assert ("(60.0–95.0)" in row) == (columns == 140)  # its interval beside a figure, or below
    assert "HOLD: Not shown to beat balanced contrastive: +0.0 points [" in " ".join(rest.split())


def test_marks_and_missing_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write_results(tmp_path, ["a", "b"], right=(20, 20, 20, 4))) == 0
    printed = capsys.readouterr().out
    assert "! a" in printed
    assert "! shown to lose more than 5.0 points" in printed
    assert "HOLD: Not shown to beat" in printed
    assert printed.rstrip().endswith("(not made yet)")
    assert main(write_results(tmp_path, ["a", "b"], num_test=9, right=(4, 4, 4, 8))) == 0
    assert "* has too few test images to be judged" in capsys.readouterr().out


def test_an_arm_apart_is_a_note_that_fits_and_not_a_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main(write_results(tmp_path, ["a", "b"], right=(8, 9, 12, 16, 10))) == 0
    table, _, rest = capsys.readouterr().out.partition("2 training seeds")
    assert "50.0" not in table
    note = " ".join(rest.partition("SHIP")[0].split())
    assert "Completed in features, apart from the verdict: 50.0 (" in note
    assert "+10.0 (" in note.partition("over cross-entropy")[0]
    assert "+5.0 (" in note.partition("over cross-entropy")[2].partition("over Balanced Softmax")[0]
    assert all(len(line) <= 80 for line in rest.partition("Report:")[0].splitlines())


def test_the_look_and_what_it_could_show_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write_results(tmp_path, ["a", "b"], num_test=9, right=(4, 4, 4, 8))) == 0
    plain = " ".join(capsys.readouterr().out.split())
    assert "1st look at these test images: may err with 2.5 %; 2.5 % of 5 % are spent; a gain of " in plain
    assert (
        " over Balanced Softmax would be shown in four cases of five. Too small to be judged alone: a, b: 18" in plain
    )


def test_many_classes_are_cut_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(write_results(tmp_path, [f"c{number:02d}" for number in range(40)], num_test=10, right=(1, 2, 4, 8))) == 0
    )
    printed = capsys.readouterr().out
    assert "of 40 classes: the 10 smallest" in printed
    assert "c00" in printed
    assert "all classes" in printed


def test_choice_of_classes_by_hand() -> None:
    def row(number: int) -> ClassRow:
        gain = Figure((number - 20) / 100, (-1.0, 1.0))
        return ClassRow(f"c{number}", 100 - number, 0, 0, {}, {"over_balanced_softmax": gain}, None, False, False)

    chosen = verdict.choose([row(number) for number in range(40)])
    assert [entry.name for entry in chosen] == [f"c{number}" for number in [*range(5), *range(30, 40)]]
    few = [row(number) for number in range(30)]
    assert verdict.choose(few) == few


def test_missing_results_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = write_results(tmp_path, ["a", "b"])
    (tmp_path / "evaluate.json").unlink()
    assert main(options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "evaluate.json: cannot be read" in error
    (tmp_path / "evaluate.json").write_text("{}", encoding="utf-8")
    assert main(options) == 2
    assert "lacks arms" in capsys.readouterr().err


def test_no_colour_codes_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(write_results(tmp_path, ["a", "b"])) == 0
    assert "\x1b" not in capsys.readouterr().out
