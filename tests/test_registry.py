import sys
from pathlib import Path

import pytest

from pipeline import registry
from pipeline.errors import UserError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of plug-ins: `vae` and `flow`, and a module that is none."""
    folder = tmp_path / "plants"
    folder.mkdir()
    (folder / "__init__.py").write_text('KIND = "plant"\n')
    (folder / "_shared.py").write_text("")
    option = "from pipeline.params import section\n\n@section\nclass Params:\n    size: int\n"
    for name in ("vae", "flow"):
        (folder / f"{name}.py").write_text(option)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield_name = "plants"
    for loaded in [name for name in sys.modules if name.split(".")[0] == yield_name]:
        monkeypatch.delitem(sys.modules, loaded)
    return yield_name


def test_the_folder_is_the_registry(package: str, tmp_path: Path) -> None:
    assert registry.names(package) == ("flow", "vae")
    assert set(registry.modules(package)) == {"flow", "vae"}
    (tmp_path / "plants" / "gan.py").write_text("")
    assert registry.names(package) == ("flow", "gan", "vae")
    assert registry.get(package, "vae").__name__ == "plants.vae"


def test_an_unknown_name_is_told_with_what_is_known(package: str) -> None:
    with pytest.raises(UserError, match=r"^unknown plant 'vea'; did you mean 'vae'\? Known: flow, vae$"):
        registry.get(package, "vea")
    with pytest.raises(UserError, match=r"^unknown plant '_shared'"):
        registry.get(package, "_shared")


def test_a_plug_in_is_chosen_with_its_options(package: str) -> None:
    module, params = registry.chosen(package, "vae", {"size": 3}, "train.plants")
    assert (module.__name__, params) == ("plants.vae", module.Params(size=3))
    with pytest.raises(UserError, match=r"^train\.plants\.vae\.sise: unknown key; did you mean 'size'"):
        registry.chosen(package, "vae", {"size": 3, "sise": 3}, "train.plants")


def test_options_of_all_named_plug_ins_are_checked(package: str) -> None:
    registry.check_options(package, "vae", {"vae": {"size": 1}, "flow": {"size": 2}}, "x")
    with pytest.raises(UserError) as caught:
        registry.check_options(package, "vea", {"vae": {"size": "1"}, "flow": {"sise": 2}, "gan": {}}, "train")
    assert str(caught.value).splitlines() == [
        "train: unknown plant 'vea'; did you mean 'vae'? Known: flow, vae",
        "train.vae.size should be a valid integer, got '1'",
        "train.flow.size: is missing",
        "train.flow.sise: unknown key; did you mean 'size'?",
        "train.gan: unknown plant 'gan'; known: flow, vae",
    ]
    with pytest.raises(UserError, match="train: has no options for 'flow'; expected a section of that name"):
        registry.check_options(package, "flow", {"vae": {"size": 1}}, "train")
