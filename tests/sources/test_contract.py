"""What every kind of source must do; a new file in the folder is tested unasked, and fails until it has an example."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from pipeline import registry, sources
from pipeline.errors import UserError
from pipeline.images import decode
from tests.builders import image_folder, tar_of, zip_of

COUNTS = {"big cat": 3, "größe M": 2}
KINDS = registry.names("pipeline.sources")
EXAMPLES: dict[str, Callable[[Path], list[str]]] = {
    "archive": lambda tmp: [
        str(zip_of(image_folder(tmp / "in", COUNTS), tmp / "a.zip")),
        str(tar_of(image_folder(tmp / "in", COUNTS), tmp / "a.tar")),
        str(tar_of(image_folder(tmp / "in", COUNTS), tmp / "a.tar.gz", mode="w:gz")),
    ],
    "digits": lambda _: ["builtin:digits"],
    "glyphs": lambda _: ["builtin:glyphs"],
    "imagefolder": lambda tmp: [str(image_folder(tmp / "in", COUNTS))],
    "none": lambda _: ["none"],
}
every_kind = pytest.mark.parametrize("kind", KINDS)


def examples(kind: str, tmp_path: Path) -> list[str]:
    assert kind in EXAMPLES, f"give an example of the source {kind!r} here"
    return EXAMPLES[kind](tmp_path)


@every_kind
def test_exactly_this_kind_accepts_its_example(kind: str, tmp_path: Path) -> None:
    modules = registry.modules("pipeline.sources")
    for source in examples(kind, tmp_path):
        assert [name for name, module in modules.items() if module.accepts(source)] == [kind]
        assert sources.find(source) is modules[kind]


@every_kind
def test_names_are_unique_and_order_and_bytes_repeat(kind: str, tmp_path: Path) -> None:
    for source in examples(kind, tmp_path):
        first, second = (
            [(file.name, file.label, file.split, file.read()) for file in islice(sources.files(source), 200)]
            for _ in range(2)
        )
        assert first == second
        names = [file.name for file in sources.files(source)]
        assert len(set(names)) == len(names)
        assert (kind == "none") == (not names)


@every_kind
def test_files_are_images_with_a_class(kind: str, tmp_path: Path) -> None:
    for source in examples(kind, tmp_path):
        for file in islice(sources.files(source), 50):
            assert decode(file.read()).shape[0] >= 8
            assert file.label in file.name.split("/")
            assert file.split in (None, "train", "val", "test")


@pytest.mark.parametrize("kind", ["archive", "imagefolder"])
def test_the_same_files_come_from_a_folder_and_an_archive_of_it(kind: str, tmp_path: Path) -> None:
    for source in examples(kind, tmp_path):
        found = [(file.name, file.label) for file in sources.files(source)]
        assert found == [(f"big cat/00{n}.png", "big cat") for n in range(3)] + [
            (f"größe M/00{n}.png", "größe M") for n in range(2)
        ]


def test_what_does_not_exist_or_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"'nowhere' does not exist; known kinds: {', '.join(KINDS)}$"):
        sources.find("nowhere")
    (tmp_path / "notes.txt").write_text("no archive")
    with pytest.raises(UserError, match=r"notes\.txt' is damaged or of no known kind; known kinds: "):
        sources.find(str(tmp_path / "notes.txt"))
