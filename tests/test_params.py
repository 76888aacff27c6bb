from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from pipeline import params
from pipeline.errors import UserError


@params.section
class Inner:
    border: str


@params.section
class Outer:
    lr: Annotated[float, Field(gt=0)]
    steps: int = 3
    inner: Inner


RIGHT: dict[str, Any] = {"lr": 0.5, "inner": {"border": "black"}}


def problems(values: Any) -> list[str]:
    return params.validate(Outer, values, "params.yaml: train")[1]


def test_right_values_are_taken() -> None:
    built = params.build(Outer, RIGHT | {"lr": 1}, "params.yaml: train")
    assert (built.lr, built.steps, built.inner.border) == (1.0, 3, "black")
    with pytest.raises(AttributeError):
        built.lr = 2.0  # type: ignore[misc]


def test_every_problem_has_its_place_and_what_was_given() -> None:
    assert problems({"lr": "fast", "step": 1, "inner": {"border": 3, "x": 1}}) == [
        "params.yaml: train.lr should be a valid number, got 'fast'",
        "params.yaml: train.inner.border should be a valid string, got 3",
        "params.yaml: train.inner.x: unknown key",
        "params.yaml: train.step: unknown key; did you mean 'steps'?",
    ]
    assert problems({"lr": 0}) == [
        "params.yaml: train.lr should be greater than 0, got 0",
        "params.yaml: train.inner: is missing",
    ]


@pytest.mark.parametrize("value", [2.5, "2", True, None])
def test_types_are_never_converted(value: object) -> None:
    (line,) = problems(RIGHT | {"steps": value})
    assert line.startswith("params.yaml: train.steps should be a valid integer, got ")


def test_build_tells_all_in_one_error() -> None:
    with pytest.raises(UserError, match=r"^params\.yaml: train\.lr .*\nparams\.yaml: train\.inner.*$"):
        params.build(Outer, {"lr": -1, "inner": 3}, "params.yaml: train")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1", "is no YAML (while parsing"),
        (b"\xff\xfe\x00", "is no YAML ("),
        (b"- 1\n", "must hold one section a stage, got list"),
        (b"", "must hold one section a stage, got NoneType"),
        (None, "cannot be read (No such file or directory); it holds one section of numbers a stage"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        params.read(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


def test_did_you_mean() -> None:
    assert params.did_you_mean("vea", ["flow", "vae"]) == "; did you mean 'vae'?"
    assert params.did_you_mean("xyz", ["flow", "vae"]) == ""
    assert (
        params.unknown("plant", "vea", ["flow", "vae"]) == "unknown plant 'vea'; did you mean 'vae'? Known: flow, vae"
    )
    assert params.unknown("plant", "xyz", ["flow", "vae"]) == "unknown plant 'xyz'; known: flow, vae"
