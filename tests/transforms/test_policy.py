from typing import Any

import pytest

from pipeline import params
from pipeline.errors import UserError
from pipeline.transforms import policy as policies
from pipeline.transforms.policy import MOVES, RECOLOURS, Policy, beyond, names, overridden, values_of

FLIPS = ("horizontal_flip", "vertical_flip")


def built(**values: Any) -> Policy:
    return params.build(Policy, values, "params.yaml: augment.policy")


def problem(**values: Any) -> str:
    with pytest.raises(UserError) as caught:
        built(**values)
    (line,) = str(caught.value).splitlines()
    return line.removeprefix("params.yaml: augment.policy")


# ------------------------------------------------------------ the registry


@pytest.mark.parametrize("name", names())
def test_every_policy_can_be_named_and_stored(name: str) -> None:
    chosen = built(name=name)
    assert chosen.name == name
    assert chosen.magnitude == 1.0  # left to the user and to tuning
    assert chosen.moves or chosen.recolours or name == "none"
    assert built(**values_of(chosen)) == chosen
    own = params.read(policies.FOLDER / f"{name}.yaml")
    assert {key: value for key, value in values_of(chosen).items() if key in own} == own


def test_the_policies_that_are_promised() -> None:
    assert {"cifar", "digits", "medical", "none", "standard", "strong", "trivial"} <= set(names())
    assert not built(name="none").moves
    medical = built(name="medical")
    assert not medical.recolours
    assert not medical.extra
    assert all(built(name=name).span(flip) == 0 for name in ("medical", "digits") for flip in FLIPS)
    assert built(name="trivial").pick == 1
    standard, strong = built(name="standard"), built(name="strong")
    assert all(strong.span(change) >= standard.span(change) for change in (*MOVES, *RECOLOURS))


def test_a_file_in_the_folder_is_a_policy(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text("rotation_degrees: 7\n", encoding="utf-8")
    monkeypatch.setattr(policies, "FOLDER", tmp_path)
    assert names() == ["mine"]
    assert built(name="mine").rotation_degrees == 7
    (tmp_path / "mine.yaml").write_text("rotaton: 7\n", encoding="utf-8")
    assert problem(name="mine") == ".rotaton: unknown key; did you mean 'rotation_degrees'?"


# ------------------------------------------------------------ names and values over them


def test_what_is_given_counts_instead_of_the_file() -> None:
    file, chosen = built(name="standard"), built(name="standard", hue=0.1, horizontal_flip=0)
    assert (chosen.hue, chosen.horizontal_flip) == (0.1, 0.0)
    same = {"name", "hue", "horizontal_flip"} ^ values_of(file).keys()
    assert all(getattr(chosen, key) == getattr(file, key) for key in same)
    assert built() == built(name="none")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (
            {"name": "standart"},
            ".name should be a policy (cifar, digits, medical, none, standard, strong, trivial; did you mean",
        ),
        ({"name": 3}, ".name should be a valid string, got 3"),
        ({"rotation_degree": 3}, ".rotation_degree: unknown key; did you mean 'rotation_degrees'?"),
        ({"rotation_degrees": 200}, ".rotation_degrees should be less than or equal to 180, got 200"),
        ({"hue": 0.7}, ".hue should be less than or equal to 0.5, got 0.7"),
        ({"scale": 1.0}, ".scale should be less than 1, got 1.0"),
        ({"magnitude": -1}, ".magnitude should be greater than or equal to 0, got -1"),
        ({"pick": 0.5}, ".pick should be a valid integer, got 0.5"),
        ({"border": "white"}, ".border should be 'black', 'edge' or 'reflect', got 'white'"),
        ({"extra": {"name": "Blur"}}, ".extra should be a valid array, got {'name': 'Blur'}"),
        (
            {"extra": [{"name": "Blurr"}]},
            ".extra.0 should be named after a transform of Albumentations (did you mean Blur",
        ),
    ],
    ids=str,
)
def test_a_wrong_value_is_one_line(values: dict[str, Any], told: str) -> None:
    assert problem(**values).startswith(told)


def test_a_class_s_values_stand_over_the_policy_or_over_another_one() -> None:
    base = built(name="standard", hue=0.1)
    assert built(**overridden(base, {"crop": 0.5})) == built(name="standard", hue=0.1, crop=0.5)
    assert built(**overridden(base, {"name": "digits", "crop": 0.5})) == built(name="digits", crop=0.5)


# ------------------------------------------------------------ limits


def lines(chosen: Policy, **limits: float) -> list[str]:
    return beyond(chosen, limits, "augment.policy", "augment.limits")


def test_a_policy_beyond_a_limit_is_told() -> None:
    assert lines(built(name="digits"), vertical_flip=0, rotation_degrees=15) == []
    assert lines(built(name="standard"), vertical_flip=0, horizontal_flip=0, rotation_degrees=10) == [
        "augment.policy.horizontal_flip is 0.5, beyond augment.limits.horizontal_flip, 0",
        "augment.policy.rotation_degrees is 15, beyond augment.limits.rotation_degrees, 10",
    ]


def test_magnitude_counts_towards_a_limit() -> None:
    assert lines(built(rotation_degrees=20, magnitude=1.5), rotation_degrees=30) == []
    assert lines(built(rotation_degrees=20, magnitude=2), rotation_degrees=30) == [
        "augment.policy.rotation_degrees is 40, beyond augment.limits.rotation_degrees, 30"
    ]


def test_no_transform_gets_around_a_limit() -> None:
    chosen = built(extra=[{"name": "Blur"}, {"name": "D4"}])
    assert lines(chosen, hue=0.1) == []
    assert lines(chosen, vertical_flip=0) == [
        "augment.policy.extra.1: D4 would get around augment.limits.vertical_flip, 0; "
        "use the policy's own vertical_flip"
    ]
