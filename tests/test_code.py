from pathlib import Path

import pytest

from pipeline import code


def test_other_code_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package" / "inner").mkdir(parents=True)
    private, module = tmp_path / "package" / "inner" / "_private.py", tmp_path / "module.py"
    for path in (private, module):
        path.write_text("1")
    monkeypatch.setattr(code, "ROOT", tmp_path)

    def now(*parts: str) -> str:
        code._digest.cache_clear()
        return code.digest(parts)

    before = now("package", "module.py")
    assert now("package", "module.py") == before != now("module.py")
    for path in (private, module):
        path.write_text("2")
        assert now("package", "module.py") != before
        path.write_text("1")
    assert now("package", "module.py") == before
    code._digest.cache_clear()
