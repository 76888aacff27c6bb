from typing import Any

import pytest
import yaml
from airflow.sdk import Param
from airflow.sdk.exceptions import ParamValidationError

from plugins import form
from plugins.planning import changed
from tests.tiny import ROOT

FORM = form.build(ROOT)
VALUES = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def value_of(key: str) -> Any:
    value = VALUES
    for part in key.split("."):
        value = value[part]
    return value


@pytest.mark.parametrize("entry", form.FIELDS, ids=lambda entry: entry.name)
def test_a_field_s_key_is_in_params_yaml_and_its_default_is_what_stands_there(entry: form.Field) -> None:
    param = FORM[entry.name]
    assert param.resolve() == value_of(entry.key)
    assert param.schema["title"] == entry.title
    assert param.schema["section"] == entry.section
    assert param.description == entry.description


def test_the_form_asks_for_the_revision_the_fields_and_the_approval() -> None:
    assert list(FORM) == ["revision", *(entry.name for entry in form.FIELDS), "approval"]
    assert (FORM["revision"].resolve(), FORM["approval"].resolve()) == ("main", False)
    for name, folder in (("train_generator__name", "generators"), ("analyze_bias__strategy", "strategies")):
        known = {path.stem for path in (ROOT / "pipeline" / folder).glob("[a-z]*.py")}
        assert set(FORM[name].schema["enum"]) == known


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("revision", ""),
        ("ingest__source", ""),
        ("analyze_bias__target", -0.1),
        ("analyze_bias__max_augment", "2"),
        ("analyze_bias__max_synthesize", 1001),
        ("analyze_bias__strategy", "cuont"),
        ("train_generator__name", "vea"),
        ("train_generator__schedule__steps", 0),
        ("train_classifier__recipe__schedule__steps", 1.5),
        ("train_classifier__seeds", 101),
        ("approval", "yes"),
    ],
)
def test_a_wrong_value_is_refused(name: str, wrong: object) -> None:
    param: Param = FORM[name]
    with pytest.raises(ParamValidationError):
        param.resolve(wrong)


def test_only_what_stands_in_params_yaml_is_changed_there() -> None:
    params = {"revision": "main", "approval": True, "ingest__source": "/data", "train_classifier__seeds": 7, "else": 1}
    assert form.changes(params) == {"ingest.source": "/data", "train_classifier.seeds": 7}
    assert form.changes({}) == {}


def test_an_untouched_form_changes_nothing() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert changed(text, form.changes({name: param.resolve() for name, param in FORM.items()})) == text
