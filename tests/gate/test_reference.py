"""The gate's measures and checks by hand: networks whose features are the two pixels of an image."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline import gate
from pipeline.backbones import Network, Trunk
from pipeline.errors import UserError
from pipeline.gate import Measures, Reference, real_pass
from pipeline.gate._usual import Usual

# Class 0 points right, class 1 up: (1, 0), (0.8, 0.6); (0, 1), (0.6, 0.8).
PIXELS = [(100, 0), (80, 60), (0, 100), (60, 80)]
LABELS = np.array([0, 0, 1, 1])
FOLDS = np.array([0, 1, 0, 1])
NINETEEN = np.arange(1.0, 20)  # of one class: the quantile q is 20 q
ZEROS = np.zeros(19, np.int64)


class TwoPixels(nn.Module):
    """float [N, 1, 1, 2] from 0 to 1 to the two pixels, float [N, 2]."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) * 255


def network(num_classes: int, scale: float = 0.1) -> Network:
    """Logits are `scale` times the pixels: class 0 the first, class 1 the second, others 0."""
    made = Network(Trunk(TwoPixels(), 2), [nn.Linear(2, num_classes)])
    weight = torch.zeros(num_classes, 2)
    weight[0, 0] = weight[1, 1] = scale
    made.head.weight, made.head.bias = nn.Parameter(weight), nn.Parameter(torch.zeros(num_classes))
    return made


def pictures(pixels: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pixels, dtype=np.uint8).reshape(-1, 1, 1, 2)


def make(
    pixels: list[tuple[int, int]] = PIXELS,
    labels: np.ndarray = LABELS,
    folds: np.ndarray = FOLDS,
    num_classes: int = 2,
) -> Reference:
    return Reference(pictures(pixels), labels, folds, [network(num_classes) for _ in range(2)], num_classes)


def reasons(reference: Reference, measures: Measures, **checks: dict[str, Any]) -> list[str]:
    passed, found = gate.judge(measures, reference, checks)
    assert passed.tolist() == [reason == "" for reason in found]
    return found.tolist()


# ------------------------------------------------------------ measures


def test_distances_of_real_images_are_those_to_prototypes_without_them() -> None:
    # Without fold 0 the prototypes are (0.8, 0.6) and (0.6, 0.8), without fold 1 (1, 0) and (0, 1): 1 - 0.8 each time.
    assert make().real["distance"] == pytest.approx([0.2] * 4, abs=1e-6)


def test_a_prototype_is_the_normalised_mean_of_normalised_features() -> None:
    # Fold 1 leaves (1, 0) and (0.6, 0.8) for class 0: mean (0.8, 0.4), normalised (2, 1) / sqrt 5.
    reference = make([(10, 0), (60, 80), (50, 50), (0, 9)], np.array([0, 0, 0, 1]), np.array([0, 0, 1, 0]))
    assert reference._prototypes[1][0].numpy() == pytest.approx(np.array([2, 1]) / np.sqrt(5), abs=1e-5)
    assert reference.real["distance"][2] == pytest.approx(1 - 3 / np.sqrt(10), abs=1e-5)


def test_each_real_image_s_nearest_other_one() -> None:
    # (100, 0) - (80, 60) = (20, -60): sqrt(4000 / 2); (80, 60) - (60, 80): sqrt(800 / 2) = 20
    copied = make().copied
    assert copied.row.tolist() == [1, 3, 3, 1]
    assert copied.pixel == pytest.approx([np.sqrt(2000), 20, np.sqrt(2000), 20])
    assert copied.feature == pytest.approx([0.2, 1 - 0.96, 0.2, 1 - 0.96], abs=1e-6)


def test_surprise_is_the_cross_entropy_of_left_out_images() -> None:
    # Logits of (100, 0): (10, 0); of (80, 60): (8, 6); the same upside down for class 1.
    surprise = np.log1p(np.exp([-10.0, -2, -10, -2]))
    assert make().real["surprise"] == pytest.approx(surprise, abs=1e-6)
    measures = make().measure(pictures([(80, 60), (80, 60)]), np.array([0, 1]))
    assert measures.surprise == pytest.approx(np.log1p(np.exp([-2.0, 2])), abs=1e-6)
    assert measures.agreement.tolist() == [1, 0]


def test_how_far_towards_another_class_by_hand() -> None:
    measures = make().measure(pictures([(80, 60), (100, 0)]), np.array([0, 1]))
    # (80, 60) lies 0.2 from (1, 0) and 0.4 from (0, 1); 0 from itself and 0.04 from (0.6, 0.8)
    assert measures.detour[0] == pytest.approx((0.2 / 0.4 + 0) / 2, abs=1e-5)
    # (100, 0) is taken for class 1: 1 from (0, 1) and 0 from (1, 0)
    assert measures.detour[1] > 1e3
    # logits (8, 6) and (10, 0) in both folds
    assert measures.odds == pytest.approx(np.exp([-2.0, 10]), rel=1e-5)
    assert make().real["odds"] == pytest.approx(np.exp([-10.0, -2, -10, -2]), rel=1e-5)
    # out of fold (100, 0) is 0.2 from (0.8, 0.6) and 0.4 from (0.6, 0.8); (80, 60) 0.2 from (1, 0) and 0.4 from (0, 1)
    assert make().real["detour"] == pytest.approx([0.5] * 4, rel=1e-4)


def test_the_odds_of_several_classifiers_are_their_geometric_mean() -> None:
    reference = Reference(pictures(PIXELS), LABELS, FOLDS, [network(2, 0.1), network(2, -0.1)], 2)
    assert reference.measure(pictures([(80, 60)]), np.array([0])).odds == pytest.approx([1])


def test_a_single_class_has_no_other_that_is_nearer() -> None:
    only = Network(Trunk(TwoPixels(), 2), [nn.Linear(2, 1)])
    reference = Reference(pictures([(100, 0), (80, 60)]), np.array([0, 0]), np.array([0, 1]), [only, only], 1)
    measures = reference.measure(pictures([(0, 100)]), np.array([0]))
    assert measures.odds.tolist() == [0]
    assert measures.own_share.tolist() == [1]


def test_candidates_by_hand() -> None:
    measures = make().measure(pictures([(100, 0), (80, 60), (0, 30)]), np.array([0, 1, 1]))
    assert measures.distance == pytest.approx([(0.2 + 0) / 2, (0.04 + 0.4) / 2, (0.2 + 0) / 2], abs=1e-6)
    assert measures.own_share.tolist() == [1, 0, 1]
    # the third: (0, 30) to (60, 80) is (60, 50), to (0, 100) it is (0, 70): sqrt(4900 / 2)
    assert measures.copied.row.tolist() == [0, 1, 2]
    assert measures.copied.pixel == pytest.approx([0, 0, 70 / np.sqrt(2)])
    assert measures.copied.feature == pytest.approx([0, 0, 0], abs=1e-6)


def test_the_folds_may_disagree() -> None:
    # (0.87, 0.49) is nearer to (0.9, 0.43) than to (0.6, 0.8), and to (0.8, 0.6) than to (1, 0): the folds part.
    images = [(80, 60), (100, 0), (60, 80), (90, 43)]
    measures = make(images).measure(pictures([(90, 50)]), np.array([0]))
    assert measures.own_share.tolist() == [0.5]


def test_figures_see_a_class_s_images_by_the_classifier_that_left_them_out() -> None:
    zero, one = make().features_left_out(0)
    assert zero == pytest.approx(np.array([[1.0, 0]]))
    assert one == pytest.approx(np.array([[0.8, 0.6]]), abs=1e-6)
    assert [len(features) for features in make().features_left_out(7)] == [0, 0]


def test_quality_is_the_share_of_real_images_that_lie_no_nearer() -> None:
    reference = make()
    reference.usual_distance = Usual(NINETEEN / 100, ZEROS)
    measures = reference.measure(pictures([(100, 0), (0, 100), (80, 60)]), np.array([0, 0, 0]))
    assert measures.distance == pytest.approx([0.1, 0.7, 0.1], abs=1e-6)
    measures.distance[:] = [0.1, 0.7, np.nan]
    assert reference.quality(measures)[:2] == pytest.approx([0.5, 0])
    assert np.isnan(reference.quality(measures)[2])


def test_a_class_with_one_image_is_measured_by_the_folds_that_saw_it() -> None:
    reference = make([*PIXELS, (70, 70)], np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 1, 0]), num_classes=3)
    assert np.isnan([reference.real[name][4] for name in reference.real]).all()
    assert reference.judgeable_classes.tolist() == [0, 1, 2]
    measures = reference.measure(pictures([(30, 30), (100, 0)]), np.array([2, 2]))
    assert measures.distance == pytest.approx([0, 1 - np.sqrt(0.5)], abs=1e-6)  # fold 1 only
    assert measures.own_share.tolist() == [1, 0]
    assert reasons(reference, measures, nearest_prototype={"min_share": 0.5, "quantile": 1}) == [
        "",
        "nearest_prototype",
    ]


def test_a_class_in_one_fold_is_seen_by_the_others_alone() -> None:
    reference = make(folds=np.array([0, 1, 0, 0]))  # class 1 lies in fold 0: its classifier never saw it
    assert reference.judgeable_classes.tolist() == [0, 1]
    assert np.isnan(reference.real["distance"][[2, 3]]).all()


def test_a_class_that_no_fold_saw_is_only_compared_with_images() -> None:
    reference = make(num_classes=3)
    assert reference.judgeable_classes.tolist() == [0, 1]
    measures = reference.measure(pictures([(200, 200), (100, 0)]), np.array([2, 2]))
    assert np.isnan([measures.distance, measures.own_share, measures.surprise, measures.agreement]).all()
    judged = {
        "near_copy": {"quantile": 0.02},
        "nearest_prototype": {"min_share": 1.0, "quantile": 1},
        "confidence": {"min_agreement": 1.0, "quantile": 0.5},
        "prototype_distance": {"lower": 0.4, "upper": 0.6},
    }
    assert reasons(reference, measures, **judged) == ["", "near_copy"]


def test_one_real_image_is_all_there_is() -> None:
    reference = make([(100, 0)], np.array([0]), np.array([0]), num_classes=2)
    measures = reference.measure(pictures([(90, 0), (100, 0), (0, 100)]), np.array([0, 0, 1]))
    checks = {
        "near_copy": {"quantile": 0.02},
        "unlike_real": {"quantile": 0.99},
        "nearest_prototype": {"min_share": 0.5, "quantile": 1},
        "confidence": {"min_agreement": 0.5, "quantile": 0.05},
        "prototype_distance": {"lower": 0.05, "upper": 0.95},
        "near_duplicate": {"quantile": 0.02},
    }
    assert reasons(reference, measures, **checks) == ["", "near_copy", ""]


def test_measuring_leaves_the_networks_as_they_are() -> None:
    made = Network(Trunk(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(2)), 2), [nn.Linear(2, 2)]).train()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    Reference(pictures(PIXELS), LABELS, FOLDS, [made, made], 2).measure(pictures(PIXELS), LABELS)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())


# ------------------------------------------------------------ checks, each at its limit


def test_prototype_distance_refuses_what_is_further_and_what_is_nearer() -> None:
    reference = make()
    reference.usual_distance = Usual(NINETEEN / 100, ZEROS)
    measures = reference.measure(pictures([(1, 0)] * 5), np.zeros(5, np.int64))
    measures.distance[:] = [0.0099, 0.0101, 0.0999, 0.1899, 0.1901]
    check = "prototype_distance"
    assert reasons(reference, measures, prototype_distance={"lower": 0.05, "upper": 0.95}) == [check, "", "", "", check]
    assert reasons(reference, measures, prototype_distance={"lower": 0, "upper": 0.5}) == ["", "", "", check, check]
    assert reasons(reference, measures, prototype_distance={"lower": 0.6, "upper": 1}) == [check, check, check, "", ""]


def test_confidence_refuses_what_is_less_sure_than_real_images_or_taken_for_another() -> None:
    reference = make()
    reference.usual_surprise = Usual(NINETEEN, ZEROS)
    measures = reference.measure(pictures([(1, 0)] * 4), np.zeros(4, np.int64))
    measures.surprise[:], measures.agreement[:], measures.odds[:] = [18.9, 19.1, 1, 1], [1, 1, 0.5, 0.49], 99
    check = "confidence"
    assert reasons(reference, measures, confidence={"min_agreement": 0.5, "quantile": 0.05}) == ["", check, "", check]
    assert reasons(reference, measures, confidence={"min_agreement": 0, "quantile": 0}) == [""] * 4


def test_what_is_outvoted_is_refused_unless_real_images_are_outvoted_as_far() -> None:
    reference = make()
    reference.usual_odds, reference.usual_detour = Usual(NINETEEN, ZEROS), Usual(NINETEEN / 10, ZEROS)
    reference.usual_surprise = Usual(NINETEEN, ZEROS)
    measures = reference.measure(pictures([(1, 0)] * 3), np.zeros(3, np.int64))
    measures.agreement[:], measures.odds[:], measures.surprise[:] = [0.4, 0.4, 0.5], [15.9, 16.1, 99], 1
    assert reasons(reference, measures, confidence={"min_agreement": 0.5, "quantile": 0.2}) == ["", "confidence", ""]
    measures.own_share[:], measures.detour[:] = [0.4, 0.4, 0.5], [1.59, 1.61, 9.9]
    check = "nearest_prototype"
    assert reasons(reference, measures, nearest_prototype={"min_share": 0.5, "quantile": 0.2}) == ["", check, ""]
    assert reasons(reference, measures, nearest_prototype={"min_share": 0.5, "quantile": 0}) == [""] * 3


def test_nearest_prototype_refuses_below_its_share() -> None:
    reference = make()
    measures = reference.measure(pictures([(100, 0), (80, 60), (110, 60)]), np.array([0, 1, 0]))
    assert reasons(reference, measures, nearest_prototype={"min_share": 0.5, "quantile": 1}) == [
        "",
        "nearest_prototype",
        "",
    ]
    assert reasons(reference, measures, nearest_prototype={"min_share": 0.0, "quantile": 1}) == ["", "", ""]


def test_near_copy_asks_for_both_pixels_and_features() -> None:
    reference = make()
    reference.usual_pixel = Usual(NINETEEN, ZEROS)
    reference.usual_feature = Usual(NINETEEN / 100, ZEROS)
    measures = reference.measure(pictures([(100, 0)] * 4), np.zeros(4, np.int64))
    measures.copied.pixel[:], measures.copied.feature[:] = [1.9, 2.1, 1.9, 1.9], [0.019, 0.019, 0.021, 0.021]
    measures.copied.moved[:] = [False, False, False, True]
    assert reasons(reference, measures, near_copy={"quantile": 0.1}) == ["near_copy", "", "", "near_copy"]


def test_unlike_real_refuses_what_is_far_from_every_real_image() -> None:
    reference = make()
    reference.usual_pixel = Usual(NINETEEN, ZEROS)
    measures = reference.measure(pictures([(100, 0)] * 2), np.zeros(2, np.int64))
    measures.copied.pixel[:] = [18.9, 19.1]
    assert reasons(reference, measures, unlike_real={"quantile": 0.95}) == ["", "unlike_real"]
    assert reasons(reference, measures, unlike_real={"quantile": 1.0}) == ["", ""]


def test_the_limit_of_a_copy_is_the_lesser_of_the_class_s_and_of_all() -> None:
    reference = make()
    labels = np.repeat([0, 1], 10)
    reference.usual_pixel = Usual(np.repeat([5.0, 50.0], 10), labels)
    reference.usual_feature = Usual(np.repeat([0.5, 0.05], 10), labels)
    pixel, feature = reference.copy_limits(np.array([0, 1]), 0.4)
    assert pixel == pytest.approx([5, 5])
    assert feature == pytest.approx([0.05, 0.05])
    pixel, feature = reference.copy_limits(np.array([0, 1]), 0.7)
    assert pixel == pytest.approx([5, 50])
    assert feature == pytest.approx([0.5, 0.05])


def wide() -> Reference:
    """Images within 10 grey levels and a cosine distance of 0.1 are duplicates at the quantile of 0.5."""
    reference = make()
    reference.usual_pixel = Usual(NINETEEN, ZEROS)
    reference.usual_feature = Usual(NINETEEN / 100, ZEROS)
    return reference


def test_near_duplicate_keeps_the_first_of_those_that_are_alike() -> None:
    #          kept     like the 1st  unlike it  like the 2nd alone    like the 1st in pixels, not in features
    images = [(20, 0), (32, 0), (200, 0), (44, 0), (20, 12)]
    measures = wide().measure(pictures(images), np.zeros(5, np.int64))
    assert measures.pictures.small.shape == (5, 1, 1, 2)
    found = reasons(wide(), measures, near_duplicate={"quantile": 0.5})
    assert found == ["", "near_duplicate", "", "", ""]


def test_near_duplicate_compares_images_of_one_class() -> None:
    measures = wide().measure(pictures([(20, 0), (20, 0), (21, 0)]), np.array([0, 1, 0]))
    assert reasons(wide(), measures, near_duplicate={"quantile": 0.5}) == ["", "", "near_duplicate"]


def test_near_duplicate_knows_what_was_accepted_before() -> None:
    reference = wide()
    before = reference.measure(pictures([(20, 0), (200, 0)]), np.array([0, 1])).pictures
    measures = reference.measure(pictures([(25, 0), (100, 0), (200, 0)]), np.zeros(3, np.int64), before)
    assert reasons(reference, measures, near_duplicate={"quantile": 0.5}) == ["near_duplicate", "", ""]


def test_an_image_that_was_refused_stands_in_no_other_s_way() -> None:
    reference = wide()
    reference.usual_distance = Usual(NINETEEN / 100, ZEROS)
    measures = reference.measure(pictures([(20, 0), (21, 0)]), np.zeros(2, np.int64))
    measures.distance[:] = [0.9, 0.1]
    far, alike = {"lower": 0.05, "upper": 0.95}, {"quantile": 0.5}
    assert reasons(reference, measures, prototype_distance=far, near_duplicate=alike) == ["prototype_distance", ""]


# ------------------------------------------------------------ what real images would meet


def test_which_real_images_would_pass_by_the_classifier_that_left_them_out() -> None:
    # The classifier that left out (70, 71) of class 0 takes it for class 1 and finds its prototype nearer: 0.011 from
    # (0.8, 0.6), 0.009 from (0.6, 0.8). All others are 0.2 from their own, 0.4 or 0.13 from the other's.
    reference = make([*PIXELS, (70, 71)], np.array([0, 0, 1, 1, 0]), np.array([0, 1, 0, 1, 0]))
    checks = {
        "nearest_prototype": {"min_share": 0.5, "quantile": 1},
        "confidence": {"min_agreement": 0.5, "quantile": 0.9},
        "prototype_distance": {"lower": 0, "upper": 1},
    }
    table = real_pass(reference, checks).sort_values("label", kind="stable")
    assert table["label"].tolist() == [0, 0, 0, 1, 1]
    # Fold 1 was not seen with (70, 71): (60, 80) lies 0.2 from (0, 1) and nearer, 0.14, to (1, 0) and (0.7, 0.71).
    assert table["nearest_prototype"].tolist() == [True, False, True, True, False]
    assert table["prototype_distance"].all()
    assert (table["all"] == table["nearest_prototype"] & table["confidence"]).all()
    assert not table["confidence"].all()
    assert real_pass(reference, {})["all"].all()


def test_of_a_class_s_real_images_so_many_of_each_fold_are_looked_at() -> None:
    first, second = make(
        [(n, 0) for n in range(9)], np.array([1, 0, 0, 0, 1, 0, 0, 0, 0]), np.repeat([1, 0], [4, 5])
    ).left_out(2)
    assert first.labels.tolist() == [1, 0, 0]
    assert second.labels.tolist() == [1, 0, 0]
    assert first.copied.row.shape == (3,)
    assert first.pictures.small[:, 0, 0, 0].tolist() == [4, 5, 6]
    assert second.pictures.small[:, 0, 0, 0].tolist() == [0, 1, 2]


# ------------------------------------------------------------ the judge


def test_the_first_check_that_fails_is_the_reason() -> None:
    reference = make()
    measures = reference.measure(pictures([(80, 60)]), np.array([1]))  # a copy, of the other class
    copy, nearer = {"near_copy": {"quantile": 0.02}}, {"nearest_prototype": {"min_share": 0.5, "quantile": 1}}
    assert reasons(reference, measures, **copy, **nearer) == ["near_copy"]
    assert reasons(reference, measures, **nearer, **copy) == ["nearest_prototype"]
    assert reasons(reference, measures) == [""]


def test_an_unknown_check_or_option_is_one_clear_line() -> None:
    reference = make()
    measures = reference.measure(pictures(PIXELS), LABELS)
    with pytest.raises(UserError) as caught:
        gate.judge(measures, reference, {"near_copies": {}})
    known = "confidence, near_copy, near_duplicate, nearest_prototype, prototype_distance, unlike_real"
    assert str(caught.value) == f"unknown check 'near_copies'; did you mean 'near_copy'? Known: {known}"
    with pytest.raises(UserError, match=r"^params\.yaml: synthesize\.gate\.near_copy\.quantile should be .*, got 2$"):
        gate.judge(measures, reference, {"near_copy": {"quantile": 2}})
    with pytest.raises(UserError) as caught:
        gate.judge(measures, reference, {"prototype_distance": {"lower": 0.9, "upper": 0.2}})
    place = "params.yaml: synthesize.gate.prototype_distance"
    assert str(caught.value) == f"{place}.lower must be less than upper, got 0.9 and 0.2"
