from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import params, registry
from pipeline.commands import check
from pipeline.errors import UserError
from tests.tiny import ROOT, merged

STAGES = registry.names("pipeline.stages")


def written(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(merged(params.read(ROOT / "params.yaml"), changes)), encoding="utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(UserError) as caught:
        check.run(path)
    return [line.removeprefix(f"{path}: ") for line in str(caught.value).splitlines()]


def test_the_project_s_own_file_is_right() -> None:
    check.run(ROOT / "params.yaml")


def test_all_problems_are_told_at_once_with_their_places(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ingest={"val_fractoin": 0.2, "test_fraction": 0.7, "image_size": "large", "digits": {"n_max": "40"}},
        augment={"policy": {"border": "white"}, "seed": -1},
        train_generater={},
    )
    found = problems(path)
    assert found[0].startswith("unknown section 'train_generater'; did you mean 'train_generator'? Known: analyze_bias")
    expected = [
        "augment.policy.border should be 'black', 'edge' or 'reflect', got 'white'",
        "augment.seed should be greater than or equal to 0, got -1",
        "ingest.digits.n_max should be a valid integer, got '40'",
        "ingest.image_size should be a valid integer or 'auto', got 'large'",
        "ingest.test_fraction should be less than 0.5, got 0.7",
        "ingest.val_fractoin: unknown key; did you mean 'val_fraction'?",
    ]
    assert sorted(found[1:]) == expected


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_s_section_is_checked(tmp_path: Path, stage: str) -> None:
    assert problems(written(tmp_path, **{stage: {"no_such_key": 1}})) == [f"{stage}.no_such_key: unknown key"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_missing_section_is_told(tmp_path: Path, stage: str) -> None:
    content = params.read(ROOT / "params.yaml")
    del content[stage]
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    found = problems(path)
    assert found
    assert all(line.startswith(f"{stage}.") and line.endswith(": is missing") for line in found)


@pytest.mark.parametrize("section", [None, [], 3, "text"])
def test_a_section_that_is_none_is_told(tmp_path: Path, section: object) -> None:
    (line,) = problems(written(tmp_path, ingest=section))
    assert line.startswith("ingest should be an object, got ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "a tenth", None])
def test_only_finite_numbers_are_numbers(tmp_path: Path, value: object) -> None:
    (line,) = problems(written(tmp_path, ingest={"val_fraction": value}))
    assert line.startswith("ingest.val_fraction should be ")


def test_a_number_in_e_notation_is_a_number_as_dvc_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert "val_fraction: 0.1 " in text
    path.write_text(text.replace("val_fraction: 0.1 ", "val_fraction: 1e-1 "), encoding="utf-8")
    check.run(path)


def test_a_key_that_is_given_twice_is_told(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("ingest: {seed: 1, seed: 2}\n", encoding="utf-8")
    with pytest.raises(UserError, match="duplicate key"):
        check.run(path)


def test_keys_that_are_no_words_are_told(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text(encoding="utf-8") + "1: {}\n", encoding="utf-8")
    (line,) = problems(path)
    assert line.startswith("unknown section 1; known: ")


def test_a_wrong_name_is_told_beside_other_mistakes_in_its_section(tmp_path: Path) -> None:
    found = problems(written(tmp_path, train_generator={"name": "vea", "seed": -1}))
    assert len(found) == 2
    assert any("unknown generator 'vea'; did you mean 'vae'?" in line for line in found)
