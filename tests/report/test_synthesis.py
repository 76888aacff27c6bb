"""What the page says of synthesis, by hand."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import UserError
from pipeline.images import decode_png, encode_png
from pipeline.report import synthesis


def test_gate_leaves_out_classes_for_which_nothing_was_wanted_and_reasons_that_do_not_occur() -> None:
    tallies = {
        "a": {"wanted": 0, "accepted": 0, "drawn": 0, "refused": {}, "real_pass_share": 1.0},
        "b": {"wanted": 4, "accepted": 3, "drawn": 9, "refused": {"near_copy": 4}, "real_pass_share": 0.5},
        "c": {"wanted": 2, "accepted": 2, "drawn": 4, "refused": {"confidence": 2}, "real_pass_share": None},
    }
    shares = {"near_copy": 0.98, "unlike_real": 0.99, "confidence": 0.9, "all": 0.75}
    reasons, rows = synthesis.gate({"classes": tallies, "real_pass_share": shares})
    assert reasons == [("near copy", 0.98), ("confidence", 0.9)]
    assert rows == [
        synthesis.GateRow("b", 4, 9, 3, [4, 0], 0.5),
        synthesis.GateRow("c", 2, 4, 2, [0, 2], None),
    ]
    assert [row.short for row in rows] == [1, 0]


def test_figures_of_each_class_in_the_page_s_order_and_a_dash_for_what_cannot_be_told() -> None:
    text = """class,real,synthetic,kernel,kernel_low,kernel_high,precision,recall,coverage,authenticity,relative_vendi
01,9,1200,0.01234,-0.001,0.02,0.5,0.25,1.0,0.987,1.1
b,2,3,,,,,,,,
"""
    table = pd.read_csv(io.StringIO(text), dtype={"class": str}, keep_default_na=False)
    assert synthesis.fidelity(table, ["b", "not made", "01"]) == [
        ("b", ["3", "–", "–", "–", "–", "–", "–"]),
        ("01", ["1,200", "12.3 (−1.0 to 20.0)", "50", "25", "100", "99", "110"]),
    ]
    assert synthesis.fidelity(table.iloc[:0], ["b"]) == []


@pytest.mark.parametrize(("side", "shown"), [(4, 4), (64, 32)])
def test_of_a_sheet_some_classes_and_images_are_shown_at_most_so_large(tmp_path: Path, side: int, shown: int) -> None:
    sheet = np.zeros((12, side, 8, side), dtype=np.uint8)
    sheet[9, :, 5] = 200  # the last that is shown
    (tmp_path / "0000250.png").write_bytes(encode_png(sheet.reshape(12 * side, 8 * side)))
    (tmp_path / "0001000.png").write_bytes(encode_png(np.zeros((side, 8 * side, 3), dtype=np.uint8)))
    (first, image), (second, coloured) = synthesis.samples(tmp_path, (1, side, side))
    assert (first, second) == (250, 1000)
    cells = decode_png(image).reshape(10, shown, 6, shown)
    assert (cells[9, :, 5] == 200).all()
    assert cells.sum() == 200 * shown * shown
    assert decode_png(coloured).shape == (shown, 6 * shown, 3)


def test_sheets_that_are_missing_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere: is not there; has train_generator run\?$"):
        synthesis.samples(tmp_path / "nowhere", (1, 8, 8))
