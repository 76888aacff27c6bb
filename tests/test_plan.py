import json
from pathlib import Path

import pytest

from pipeline import plan
from pipeline.errors import UserError
from pipeline.plan import ClassPlan


def test_a_plan_is_read_back_and_damage_is_said(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"größe M": {"real": 3, "augment": 2, "synthesize": 1}}), encoding="utf-8")
    assert plan.read(path) == {"größe M": ClassPlan(3, 2, 1)}
    for damaged in ("", "[]", '{"cat": {"real": 3}}', '{"cat": 3}'):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(UserError, match=r"plan\.json: is no plan .*; the stage analyze_bias writes it"):
            plan.read(path)
    with pytest.raises(UserError, match=r"nowhere\.json: is no plan"):
        plan.read(tmp_path / "nowhere.json")
