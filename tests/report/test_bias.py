"""What the page tells of the bias analysis."""

import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.report import bias, sheet
from pipeline.stages import report

Inputs = dict[str, Path]
NAMES = ("cat", "dog", "<owl>")


def section(inputs: Inputs, out: Path) -> str:
    """The page's part on bias."""
    report.run(**inputs, out=out, params=report.Params(images_per_class=2))
    page = (out / "index.html").read_text(encoding="utf-8")
    return page.partition('<section id="bias"')[2].partition("</section>")[0]


def plain(text: str) -> str:
    """What a reader sees."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def test_findings_plan_cues_and_drift_are_told(make_inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    text = plain(section(make_inputs(NAMES, [12, 5, 2]), tmp_path / "out"))
    for told in (
        "spurious cue border gives '<owl>' away",
        "odd images dark: 1",
        "to augment 3 to synthesise 4 to store 1.2 MB quick classifier's mistakes, expected 50.0 → 25.0 %",
        "cat 12 3 4 19 dog 5 3 4 12 <owl> 2 3 4 9",
        "border 12.5 0.005 <owl> 20.0 0.005",
        "brightness test images 1,240 0.25 0.75 < 0.0001",
        "Not measured: drift (all training images came in one batch).",
    ):
        assert told in text, told


def test_odd_and_doubted_images_are_shown(make_inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    inputs = make_inputs(NAMES, [12, 5, 2])
    text = section(inputs, tmp_path / "out")
    first = sheet.first_images(Dataset.open(inputs["train"]), 1, [0, 2])
    assert re.findall(r'src="([^"]*)"', text) == [sheet.data_uri(first[label][0]) for label in (2, 0)]
    assert "dark <owl>" in plain(text)
    assert "cat → dog?" in plain(text)


def test_nothing_found_is_said(make_inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    inputs = make_inputs(NAMES, [12, 5, 2])
    found = json.loads(inputs["findings"].read_text(encoding="utf-8"))
    found |= {"findings": [], "cues": {}, "not_measured": {}, "test_against_train": None}
    found["odd_images"]["oddest"] = found["label_issues"]["images"] = []
    inputs["findings"].write_text(json.dumps(found), encoding="utf-8")
    text = section(inputs, tmp_path / "out")
    assert "Nothing that is both improbable by chance and large was found" in text
    assert re.findall("<h3>(.*?)</h3>", text) == ["Training images before and after", "The plan"]


def test_an_analysis_of_another_version_is_one_line(make_inputs: Callable[..., Inputs], tmp_path: Path) -> None:
    inputs = make_inputs(NAMES, [12, 5, 2])
    inputs["findings"].write_text('{"findings": [], "cues": {}}', encoding="utf-8")
    with pytest.raises(UserError, match=r"findings\.json: lacks odd_images, .*; run its stage again$"):
        section(inputs, tmp_path / "out")


def line(kind: str, text: str) -> dict[str, Any]:
    return {"kind": kind, "text": text}


def test_a_kind_with_many_findings_leaves_room_for_the_others() -> None:
    many = [line("cue", f"cue {number}") for number in range(50)]
    shown, more = bias.findings({"findings": [*many, line("drift", "a shift")]})
    assert shown == [*(("spurious cue", f"cue {number}") for number in range(10)), ("drift", "a shift")]
    assert more == 40
    assert bias.findings({"findings": []}) == ([], 0)


def test_images_of_every_kind_have_room() -> None:
    odd = [{"kind": kind, "number": number} for kind in ("dark", "flat") for number in range(12)]
    assert [item["number"] for item in bias._some_of_each(odd)] == [*range(8), *range(8)]
