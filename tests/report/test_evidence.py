"""What the page says of the verdict's ground, by hand."""

from typing import Any

import pytest

from pipeline.report import evidence


def metrics(**changes: Any) -> dict[str, Any]:
    """As little as a function here reads, of two arms."""
    return {"arms": {}, "apart": {}, "look": None, "pooled": None, "subgroups": None, **changes}


def test_the_look_and_its_level() -> None:
    third = metrics(look={"number": 3, "alpha": 0.05 / 12, "spent": 0.0375, "budget": 0.05})
    assert evidence.level(third) == "99.58 %"
    assert evidence.look(third) == ("3rd", "may err with 0.417 %; 3.75 % of 5 % are spent")
    assert (evidence.level(metrics()), evidence.look(metrics())) == ("95 %", None)


def test_a_gain_with_all_that_is_known_of_its_error() -> None:
    figures = {"mean": 0.0123, "interval": [-0.002, 0.03], "detectable": 0.021}
    error = {"seeds": 0.004, "images": 0.006, "both": 0.001, "total": 0.0073}
    gain = {
        "balanced_accuracy": figures | {"standard_error": error},
        "mcnemar": {"only_new": 31, "only_old": 1200, "p_value": 0.0123},
    }
    rivals = ("over_cross_entropy", "over_balanced_softmax", "over_ldam_drw", "over_augmented")
    rows = evidence.gains(metrics(gain=dict.fromkeys(rivals, gain)))
    assert [name for name, _ in rows] == [
        "over cross-entropy",
        "over Balanced Softmax",
        "over ldam drw",
        "over augmented",
    ]
    assert rows[0][1] == ["+1.2 (−0.2 to +3.0)", "2.1", "0.4", "0.6", "0.1", "31 : 1,200", "0.012"]


def test_what_each_means_brought() -> None:
    gain = {"mean": 0.01, "ci95": [0.0, 0.02]}
    entry = {"with": "baseline_cross_entropy", "without": "without_transfer", "seeds": 3, "balanced_accuracy": gain}
    (row,) = evidence.means(metrics(attribution={"transfer": entry | {"few": None}}))
    compared = "cross-entropy beside the same without transfer"
    assert row == ("transfer", [compared, "3", "+1.0 (0.0 to +2.0)", "–"])


@pytest.mark.parametrize("judged", [True, False])
def test_classes_that_are_too_small(judged: bool) -> None:
    gain = {"mean": -0.1, "ci95": [-0.2, -0.05]}
    entry = {"classes": ["a", "b"], "test_images": 14, "judged": judged, "harmed": judged}
    found = evidence.pooled(metrics(pooled=entry | {"gain": {"over_cross_entropy": gain}}))
    told = "a, b: 14 test images together, −10.0 (−20.0 to −5.0) over cross-entropy"
    assert found == (told + ("" if judged else "; even together too few to be judged"), judged)
    assert evidence.pooled(metrics()) is None


def test_without_groups_or_corruptions_nothing_is_said() -> None:
    assert evidence.robustness(metrics(robustness=None)) is None
    assert evidence.subgroups(metrics()) is None
    assert evidence.splits(metrics()) == []
    found = evidence.subgroups(metrics(subgroups={"groups": 90, "judged": 0, "arms": {}}))
    assert found == ("90 groups (patients, cameras) among the test images, 0 with enough images for a figure.", [], [])
