"""The whole page, made by the stage from files: equal, self-contained, honest about odd classes."""

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.report import sheet
from pipeline.stages import report

PARAMS = report.Params(images_per_class=2)
NAMES = ("plain", '<b>&"é', "null")
VOID = {"meta", "img"}
Inputs = dict[str, Path]
MakeInputs = Callable[..., Inputs]


class Outline(HTMLParser):
    """Checks that tags nest; collects text, headings, images and where links and sources point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.targets: list[str] = []
        self.alts: list[str] = []
        self.ids: set[str] = set()
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.targets += [given[key] or "" for key in ("src", "href") if key in given]
        self.ids.add(given.get("id") or "")
        if tag == "img":
            self.alts.append(given.get("alt") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def make(inputs: Inputs, out: Path, params: report.Params = PARAMS) -> str:
    report.run(**inputs, out=out, params=params)
    assert [path.name for path in out.iterdir()] == ["index.html"]
    return (out / "index.html").read_text(encoding="utf-8")


def test_equal_runs_give_equal_bytes_and_say_nothing_of_place(make_inputs: MakeInputs, tmp_path: Path) -> None:
    inputs = make_inputs(NAMES, [12, 5, 2])
    first, second = make(inputs, tmp_path / "first"), make(inputs, tmp_path / "second")
    assert first == second
    assert str(tmp_path) not in first


def test_needs_nothing_else(make_inputs: MakeInputs, tmp_path: Path) -> None:
    text = make(make_inputs(NAMES, [12, 5, 2]), tmp_path / "out")
    outline = Outline(text)
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert not {"script", "link", "iframe"} & set(outline.tags)
    assert all(target.startswith(("data:image/png;base64,", "#")) for target in outline.targets)
    assert {target[1:] for target in outline.targets if target.startswith("#")} <= outline.ids
    assert outline.tags.count("h1") == 1
    assert all(outline.alts)


def test_class_names_are_shown_as_they_are(make_inputs: MakeInputs, tmp_path: Path) -> None:
    text = make(make_inputs(NAMES, [12, 5, 2]), tmp_path / "out")
    assert '<b>&"é' not in text
    outline = Outline(text)
    assert outline.text.count('<b>&"é') >= 5
    assert f"real image 1 of class {NAMES[1]}" in outline.alts
    assert "damaged: <cut>" in outline.text


def test_verdict_comes_first_and_the_untested_class_is_marked(make_inputs: MakeInputs, tmp_path: Path) -> None:
    text = make(make_inputs(NAMES, [12, 5, 2]), tmp_path / "out")
    plain = html.unescape(" ".join(Outline(text).text.split()))
    assert re.search(r"did completing this data set help\? (SHIP|HOLD) ", plain)
    assert "cannot be judged" in text.partition('id="classes"')[2].partition("</table>")[0]
    assert "no test image" in text
    assert 'Fell short of the plan: plain, <b>&"é, null.' in plain
    assert "19 real, in 3 classes" in plain  # 12 + 5 + 2


def test_images_stand_under_each_other(make_inputs: MakeInputs, tmp_path: Path) -> None:
    inputs = make_inputs(NAMES, [12, 5, 1], channels=3)
    text = make(inputs, tmp_path / "out")
    table = text.partition('id="sheet"')[2].partition("</article>")[0]
    rows = [re.findall(r'src="([^"]*)"', row) for row in table.split("<tr")[1:]]
    assert [len(row) for row in rows] == [2, 2, 2, 2]
    synthetic = sheet.first_images(Dataset.open(inputs["synthetic"]), 2, [0])[0]
    assert rows[2] == [sheet.data_uri(image) for image in synthetic]


def test_the_arm_apart_has_its_row_and_its_gains_and_no_part_in_the_verdict(
    make_inputs: MakeInputs, tmp_path: Path
) -> None:
    inputs = make_inputs(NAMES, [12, 5, 2])
    text = make(inputs, tmp_path / "out")
    classes = text.partition('id="classes"')[2].partition("</section>")[0]
    assert classes.count(">completed in features</th>") == 2
    assert "Completed in features, apart" in classes
    assert classes.count("<b>over cross-entropy</b>") == 1
    assert "features" not in Outline(text.partition("<header")[2].partition("</header>")[0]).text
    content = json.loads(inputs["evaluate"].read_text(encoding="utf-8"))
    del content["arms"]["feature_completed"]
    inputs["evaluate"].write_text(json.dumps(content | {"apart": {}, "attribution": {}}), encoding="utf-8")
    assert "ompleted in features" not in make(inputs, tmp_path / "without")


def test_the_baseline_under_the_arms_own_loss_stands_beside_the_others(make_inputs: MakeInputs, tmp_path: Path) -> None:
    text = make(make_inputs(NAMES, [12, 5, 2], more=("ldam_drw",)), tmp_path / "out")
    header = text.partition("<header")[2].partition("</header>")[0]
    assert re.findall("<b>(over [^<]*)</b>", header) == [
        f"over {name}" for name in ("cross-entropy", "Balanced Softmax", "ldam drw")
    ]
    assert "ldam drw: " in header.partition('class="lead"')[2].partition("</p>")[0]
    legend = re.findall('<li class="(baseline_[^"]*)">', text)
    assert legend == ["baseline_cross_entropy", "baseline_balanced_softmax", "baseline_ldam_drw"] * 2
    assert text.count('class="curve baseline_ldam_drw"') == 1
    assert "<b>Ldam drw</b>, the loss that" in text.partition('id="reading"')[2]
    rows = text.partition("The gain and its error")[2].partition("</table>")[0]
    assert re.findall('<th scope="row"[^>]*>(over [^<]*)<', rows)[2:] == ["over ldam drw", "over augmented"]


def test_synthesis_is_told_class_by_class(make_inputs: MakeInputs, tmp_path: Path) -> None:
    text = make(make_inputs(NAMES, [12, 5, 2]), tmp_path / "out")
    gate = Outline(text.partition('id="gate"')[2].partition("</section>")[0].partition(">")[2])
    plain = " ".join(gate.text.split())
    assert "the gate would let 75.0 % through" in plain
    assert "real images that pass this check, %87.575.0" in plain
    assert "null4532" in plain  # wanted, drawn, accepted, refused
    assert "null3500.0 (500.0 to 500.0)505050–90" in plain
    assert [alt for alt in gate.alts if "after" in alt] == [
        f"Samples of the generator after {step} steps, a class in each row" for step in (125, 1000)
    ]
    assert "step 125" in plain
    assert "step 1,000" in plain


def test_without_synthetic_images(make_inputs: MakeInputs, tmp_path: Path) -> None:
    text = make(make_inputs(NAMES, [12, 5, 2], added=0), tmp_path / "out")
    Outline(text)
    assert text.count(">none</td>") == 2 * len(NAMES)
    assert "nearest real</th>" not in text


def test_hundred_classes(make_inputs: MakeInputs, tmp_path: Path) -> None:
    names = tuple(f"class {number}" for number in range(100))
    text = make(make_inputs(names, [1 + number % 50 for number in range(100)], added=1), tmp_path / "out")
    table = text.partition('id="classes"')[2].partition("</table>")[0]
    counts = [int(count) for count in re.findall(r"</th><td>(\d+)</td>", table)]
    assert counts == sorted((1 + number % 50 for number in range(100)), reverse=True)
    assert "100 by 100 classes" in text
    assert len(text) < 1_000_000
    assert text.count("<article") == 100


def test_a_page_holds_a_limited_number_of_images(
    make_inputs: MakeInputs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sheet, "MAX_IMAGES", 16)
    names = tuple(f"class {number}" for number in range(31))
    text = make(make_inputs(names, [40 - number for number in range(31)], added=1), tmp_path / "out")
    assert "2 of 31 classes" in text
    assert re.findall(r"<h3>(class \d+)<small>", text) == ["class 30", "class 29"]


def test_what_the_verdict_rests_on_is_told(make_inputs: MakeInputs, tmp_path: Path) -> None:
    text = make(make_inputs(NAMES, [12, 5, 2]), tmp_path / "out")
    plain = html.unescape(" ".join(Outline(text).text.split()))
    assert "This is the 3rd look at these test images: it may err with 0.417 %; 3.75 % of 5 % are spent." in plain
    assert "Gain in balanced accuracy, in points, with 99.58 % intervals" in plain
    section = text.partition('id="evidence"')[2].partition("</section>")[0]
    tables = re.findall(r"<table>.*?</table>", section, re.DOTALL)
    assert [re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)[-3:] for table in tables] == [
        ["of both", "images right by one alone", "p, McNemar"],
        ["seeds", "balanced accuracy", "classes with few images"],
        ["worst class, its recall", "together: balanced accuracy", "calibration error"],
        ["arm", "gaussian noise", "mean"],
        ["spread", "north", "south"],
    ]
    for means in ("augmentation", "synthesis", "feature completion", "transfer"):
        assert means in tables[1]
    assert "Digests of the images’ ids: train 9 images, sha256:0a0a0a0a0a0a0a0a…; val 9 images" in plain


@pytest.mark.parametrize("missing", ["evaluate", "generator_curve", "quarantine", "fidelity", "samples"])
def test_what_is_missing_is_named(make_inputs: MakeInputs, tmp_path: Path, missing: str) -> None:
    inputs = make_inputs(NAMES, [12, 5, 2]) | {missing: tmp_path / "nowhere"}
    with pytest.raises(UserError, match=r"nowhere.*has (its stage|train_generator) run\?"):
        make(inputs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
