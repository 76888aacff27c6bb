"""The command line: options follow from signatures, mistakes are one line each."""

import inspect
import types
from pathlib import Path

import pytest

from pipeline import __main__ as cli
from pipeline import registry
from pipeline.errors import UserError


def module_of(run: object) -> types.ModuleType:
    module = types.ModuleType("planted")
    module.run = run  # type: ignore[attr-defined]
    return module


def test_options_follow_from_the_signature(tmp_path: Path) -> None:
    got: dict[str, object] = {}

    def run(
        source: str,
        out: Path,
        train: tuple[Path, ...],
        *,
        limit: int = 3,
        deep: bool = False,
        domain: str | None = None,
    ) -> None:
        """Does something."""
        got.update(locals())

    cli.call(module_of(run), "planted", ["in", "--out", "a b", "--train", "x", "y", "--limit", "5", "--deep"])
    assert {key: got[key] for key in ("source", "out", "train", "limit", "deep", "domain")} == {
        "source": "in",
        "out": Path("a b"),
        "train": (Path("x"), Path("y")),
        "limit": 5,
        "deep": True,
        "domain": None,
    }
    cli.call(module_of(run), "planted", ["in", "--out", "a", "--train", "x", "--domain", "d"])
    assert (got["limit"], got["deep"], got["domain"], got["train"]) == (3, False, "d", (Path("x"),))


@pytest.mark.parametrize("arguments", [["--out", "a", "--unknown", "b"], [], ["--ou", "a"]])
def test_wrong_options_end_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    def run(out: Path) -> None:
        """Does something."""

    with pytest.raises(SystemExit, match="2"):
        cli.call(module_of(run), "planted", arguments)
    assert "python -m pipeline planted" in capsys.readouterr().err


def test_the_overview_names_every_stage_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for package in cli.PACKAGES:
        for name in registry.names(package):
            line = next(line for line in out.splitlines() if line.startswith(f"  {name} "))
            doc = inspect.getdoc(registry.modules(package)[name])
            assert doc is not None
            assert line.endswith(doc.splitlines()[0])


def test_an_unknown_stage_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["ingst"]) == 2
    assert capsys.readouterr().err.startswith("error: unknown stage 'ingst'; did you mean 'ingest'? Known: ")


def test_every_line_of_a_mistake_is_marked(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise UserError("one\ntwo")

    monkeypatch.setattr(cli, "call", fail)
    assert cli.main(["check"]) == 2
    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "params.yaml").write_text("ingest: {source: none}\ningest_source: {source: none}\n")
    lock = tmp_path / "file" / "source.json"
    assert cli.main(["scan", "--params-file", str(tmp_path / "params.yaml"), "--lock", str(lock)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {tmp_path}/file")
    assert error.endswith(("Not a directory", "File exists"))
