from pathlib import Path

import pytest

from pipeline import params
from pipeline.commands import configure
from pipeline.errors import UserError
from tests.builders import image_folder
from tests.tiny import ROOT


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    """A copy of the project's params.yaml."""
    path = tmp_path / "params.yaml"
    path.write_bytes((ROOT / "params.yaml").read_bytes())
    return path


def test_only_the_two_lines_change_and_comments_stay(params_file: Path, tmp_path: Path) -> None:
    before = params_file.read_text(encoding="utf-8").splitlines()
    source = str(image_folder(tmp_path / "größe: M #1", {"a": 1, "b": 1}))
    configure.run(source, params_file)
    after = params_file.read_text(encoding="utf-8").splitlines()
    changed = [(old.split()[0], old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert [key for key, *_ in changed] == ["source:", "source:"]
    assert all(
        old.partition("#")[2] == new.rpartition(" # ")[2].join(["", ""]) or "#" in new for _, old, new in changed
    )
    content = params.read(params_file)
    assert content["ingest"]["source"] == source
    assert content["ingest_source"]["source"] == "none"


def test_a_built_in_source_brings_its_domain(params_file: Path, tmp_path: Path) -> None:
    source = str(image_folder(tmp_path / "in", {"a": 1, "b": 1}))
    original = params.read(params_file)
    configure.run(source, params_file, source_domain=source)
    assert params.read(params_file)["ingest_source"]["source"] == source
    configure.run("builtin:digits", params_file)
    content = params.read(params_file)
    assert (content["ingest"]["source"], content["ingest_source"]["source"]) == ("builtin:digits", "builtin:glyphs")
    assert params.read(params_file) == original


def test_nothing_to_change_leaves_the_file_alone(params_file: Path) -> None:
    before = params_file.read_bytes(), params_file.stat().st_mtime_ns
    configure.run("builtin:digits", params_file)
    assert (params_file.read_bytes(), params_file.stat().st_mtime_ns) == before


def test_what_does_not_exist_is_refused_and_nothing_written(params_file: Path) -> None:
    before = params_file.read_bytes()
    with pytest.raises(UserError, match="'nowhere' does not exist"):
        configure.run("nowhere", params_file)
    with pytest.raises(UserError, match="'nowhere' does not exist"):
        configure.run("builtin:digits", params_file, source_domain="nowhere")
    assert params_file.read_bytes() == before


@pytest.mark.parametrize(
    "content", ["ingest: {source: x}\n", "ingest:\ningest_source: {source: none}\n", "ingest: {}\n"]
)
def test_no_place_for_a_source_is_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(UserError, match=r"params\.yaml: has no ingest(_source)?\.source to set"):
        configure.run("builtin:digits", tmp_path / "params.yaml")
