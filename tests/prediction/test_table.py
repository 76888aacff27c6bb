import json
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.prediction.table import Row, columns, writing

ROWS: list[Row] = [
    {"path": 'a "b", c.png', "class": "größe M", "probability": 0.75, "class_2": "猫", "probability_2": 0.25},
    {"path": "d.png", "problem": "empty file"},
]
NAMES = ("path", "class", "probability", "class_2", "probability_2", "problem")


def test_columns() -> None:
    assert columns(2) == NAMES
    assert columns(1) == ("path", "class", "probability", "problem")


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_what_is_written_in_parts_is_read_as_one_table(tmp_path: Path, ending: str) -> None:
    out = tmp_path / "new folder" / f"t.{ending}"
    with writing(str(out), NAMES) as write:
        for row in ROWS:
            write([row])
        assert not out.exists()
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}
    table = pd.read_json(out, lines=True) if ending == "jsonl" else read[ending](out)
    assert tuple(table.columns) == NAMES
    for row, found in zip(ROWS, table.to_dict("records"), strict=True):
        for name in NAMES:
            assert found[name] == row[name] if name in row else pd.isna(found[name])


def test_json_lines_say_null_where_nothing_is_known(tmp_path: Path) -> None:
    with writing(str(tmp_path / "t.jsonl"), NAMES) as write:
        write(ROWS)
    lines = (tmp_path / "t.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1]) == dict.fromkeys(NAMES) | ROWS[1]
    assert "größe M" in lines[0]


def test_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    with writing("-", NAMES) as write:
        write(ROWS)
    assert capsys.readouterr().out.splitlines() == [
        ",".join(NAMES),
        '"a ""b"", c.png",größe M,0.75,猫,0.25,',
        "d.png,,,,,empty file",
    ]


def test_after_an_error_there_is_no_table_and_the_old_one_stays(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("old")

    def stops() -> None:
        with writing(str(tmp_path / "t.csv"), NAMES) as write:
            write(ROWS)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stops()
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]
    assert (tmp_path / "t.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("out", "fault"), [("t.txt", "has no known ending"), ("t", "has no"), ("f.csv", "is a folder")]
)
def test_other_names_are_refused_in_one_line(tmp_path: Path, out: str, fault: str) -> None:
    (tmp_path / "f.csv").mkdir()
    told = rf"{fault}.*; expected a file NAME\.csv, NAME\.parquet, NAME\.jsonl or -$"
    with pytest.raises(UserError, match=told), writing(str(tmp_path / out), NAMES):
        pass
