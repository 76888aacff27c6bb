from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.__main__ import main
from pipeline.commands import preview
from pipeline.commands.preview import Block, draw_sheet
from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.images import Pixels, decode_png
from pipeline.stages import augment
from tests.builders import solid, write_dataset
from tests.tiny import ROOT, settings

COUNTS = {"cat": 9, "größe M": 2, "owl": 1, "none": 0}


@pytest.fixture
def train(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "train", COUNTS)


def drawn(train: Path, **options: Any) -> Pixels:
    out = train.parent / "sheet.png"
    preview.run(ROOT / "params.yaml", train, out, **options)
    return decode_png(out.read_bytes())


def shows(sheet: Pixels, image: Pixels) -> bool:
    """Whether the image, enlarged by a whole factor, is on the sheet."""
    return bool(tops(sheet, image))


def tops(sheet: Pixels, image: Pixels) -> list[int]:
    """Where it begins."""
    zoom = 64 // image.shape[0]
    enlarged = np.repeat(np.repeat(image, zoom, axis=0), zoom, axis=1)
    height, width = enlarged.shape[:2]
    rows, columns = sheet.shape[0] - height + 1, sheet.shape[1] - width + 1
    places = np.ones((rows, columns), dtype=bool)
    for y in range(0, height, zoom):  # one pixel of each row narrows the places down
        x = y * 7 % width
        places &= (sheet[y : y + rows, x : x + columns] == enlarged[y, x]).all(axis=2)
    return [int(y) for y, x in np.argwhere(places) if np.array_equal(sheet[y : y + height, x : x + width], enlarged)]


def test_it_shows_real_images_and_what_augment_makes_of_them(train: Path, tmp_path: Path) -> None:
    sheet = drawn(train, parents=2, copies=3)
    real, params = Dataset.open(train), settings(augment.Params, "augment")
    made = list(augment.augmented(real, np.array([9, 4, 3, 0]), params, augment.recipe_of(params, real)))
    rows = list(real.rows())
    assert [shows(sheet, decode_png(row.image)) for row in rows] == [True] * 2 + [False] * 7 + [True] * 3
    assert len({tops(sheet, decode_png(row.image))[0] for row in rows[:2]}) == 1  # side by side
    own = [tops(sheet, decode_png(row.image))[0] for row in made if row.parent_id == rows[0].id][:3]
    assert own == sorted(own)
    assert own[0] > tops(sheet, decode_png(rows[0].image))[0]  # the real one on top
    first = {row.id for row in rows[:2]}
    shown = [row for row in made if row.label or row.parent_id in first]
    assert len(shown) == 2 + 4 + 3
    assert all(shows(sheet, decode_png(row.image)) for row in shown)
    assert not any(shows(sheet, decode_png(row.image)) for row in made if row not in shown)


def test_the_classes_asked_for_and_no_others(train: Path) -> None:
    rows = list(Dataset.open(train).rows())
    sheet = drawn(train, classes=("owl",), copies=1)
    assert [shows(sheet, decode_png(row.image)) for row in rows] == [False] * 11 + [True]


def test_of_many_classes_the_smallest(tmp_path: Path) -> None:
    counts = {f"class {number}": 2 if number in (3, 5) else 1 for number in range(12)}
    train = write_dataset(tmp_path / "train", counts)
    sheet = drawn(train, parents=1, copies=1)
    found = {row.label for row in Dataset.open(train).rows() if shows(sheet, decode_png(row.image))}
    assert found == set(range(12)) - {3, 5}


def test_a_block_has_its_real_images_on_top() -> None:
    sheet = draw_sheet([Block("cat", [[solid((250, 0, 0))], [solid((0, 250, 0))], [solid((0, 0, 250))]])])
    places = [np.argwhere((sheet == colour).all(axis=2)) for colour in ((250, 0, 0), (0, 250, 0), (0, 0, 250))]
    tops = [int(place[:, 0].min()) for place in places]
    assert [len(place) for place in places] == [64 * 64] * 3  # 8 pixels become 64
    assert tops[0] + 64 + 2 < tops[1]
    assert tops[2] - tops[1] == 64 + 2
    assert (sheet[: tops[0]] < 100).any()  # the title above


@pytest.mark.parametrize(("side", "shown"), [(8, 64), (32, 64), (40, 40), (96, 96), (224, 96)])
def test_sizes(side: int, shown: int) -> None:
    sheet = draw_sheet([Block("", [[np.full((side, side), 7, np.uint8)]])])
    assert (sheet == 7).all(axis=2).sum() == shown * shown


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            {"classes": ("owls",)},
            r"^preview: unknown class 'owls'; did you mean 'owl'\? Known: cat, größe M, owl, none$",
        ),
        ({"copies": 0}, r"^preview: parents and copies must be at least 1, got 6 and 0$"),
    ],
    ids=str,
)
def test_a_user_s_mistake_is_one_line(train: Path, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError, match=told):
        drawn(train, **options)
    assert not (train.parent / "sheet.png").exists()


def test_from_the_command_line(train: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a b" / "sheet.png"
    words = ["preview", "--train", str(train), "--out", str(out), "--classes", "größe M", "owl", "--copies", "2"]
    assert main([*words, "--params-file", str(ROOT / "params.yaml")]) == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert f"2 classes under the policy 'digits' in {out}" in capfd.readouterr().err
