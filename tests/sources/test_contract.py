"""What every kind of source must do; a new file in the folder is tested unasked, and fails until it has an example."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from pipeline import registry, sources
from pipeline.decoding import decode
from pipeline.errors import UserError
from tests import formats
from tests.builders import image_folder, tar_of, zip_of, zst_of
from tests.s3 import server, server_in_env

__all__ = ["server", "server_in_env"]  # fixtures
COUNTS = {"big cat": 3, "größe M": 2}
KINDS = registry.names("pipeline.sources")
EXAMPLES: dict[str, Callable[[Path], list[str]]] = {
    "archive": lambda tmp: [
        str(zip_of(image_folder(tmp / "in", COUNTS), tmp / "a.zip")),
        str(tar_of(image_folder(tmp / "in", COUNTS), tmp / "a.tar")),
        str(tar_of(image_folder(tmp / "in", COUNTS), tmp / "a.tar.gz", mode="w:gz")),
        str(zst_of(tar_of(image_folder(tmp / "in", COUNTS), tmp / "b.tar"))),
    ],
    "coco": lambda tmp: formats.cocos(tmp, COUNTS),
    "digits": lambda _: ["builtin:digits"],
    "glyphs": lambda _: ["builtin:glyphs"],
    "hf_imagefolder": lambda tmp: formats.hf_image_folders(tmp, COUNTS),
    "hf_parquet": lambda tmp: formats.hf_parquets(tmp, COUNTS),
    "imagefolder": lambda tmp: [str(image_folder(tmp / "in", COUNTS)), str(stray(image_folder(tmp / "odd", COUNTS)))],
    "manifest": lambda tmp: formats.manifests(tmp, COUNTS),
    "none": lambda _: ["none"],
    "webdataset": lambda tmp: formats.web_datasets(tmp, COUNTS),
}


def stray(folder: Path) -> Path:
    """Files of other kinds beside the class folders of an ImageFolder change nothing."""
    tar_of(folder, folder / "all.tar")
    formats.write_table(folder / "metadata.csv", [{"camera": "a"}])
    formats.write_table(folder / "embeddings.parquet", [{"x": 0.5}])
    (folder / "notes.json").write_text("{}")
    return folder


every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def examples(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    if kind == "s3":
        server = request.getfixturevalue("server_in_env")
        bucket = server.new_bucket()
        server.upload(image_folder(tmp_path / "in", COUNTS), bucket, "my data/")
        return [f"s3://{bucket}/my data", f"s3://{bucket}"]
    assert kind in EXAMPLES, f"give an example of the source {kind!r} here"
    return EXAMPLES[kind](tmp_path)


@every_kind
def test_exactly_this_kind_accepts_its_example(kind: str, examples: list[str]) -> None:
    modules = registry.modules("pipeline.sources")
    for source in examples:
        assert [name for name, module in modules.items() if module.accepts(source)] == [kind]
        assert sources.find(source) is modules[kind]


@every_kind
def test_names_are_unique_and_order_and_bytes_repeat(kind: str, examples: list[str]) -> None:
    for source in examples:
        first, second = (
            [(file.name, file.label, file.split, file.read()) for file in islice(sources.files(source), 200)]
            for _ in range(2)
        )
        assert first == second
        names = [file.name for file in sources.files(source)]
        assert len(set(names)) == len(names)
        assert (kind == "none") == (not names)


@every_kind
def test_files_are_images_with_a_class(kind: str, examples: list[str]) -> None:
    for source in examples:
        for file in islice(sources.files(source), 50):
            assert decode(file.read()).shape[0] >= 8
            assert file.listed or file.label in file.name.split("/")
            assert file.split in (None, "train", "val", "test")


@pytest.mark.parametrize("kind", ["archive", "imagefolder", "s3"])
def test_the_same_files_come_from_a_folder_an_archive_and_a_bucket(kind: str, examples: list[str]) -> None:
    for source in examples:
        found = [(file.name.removeprefix("my data/"), file.label) for file in sources.files(source)]
        assert found == [(f"big cat/00{n}.png", "big cat") for n in range(3)] + [
            (f"größe M/00{n}.png", "größe M") for n in range(2)
        ]


def test_a_folder_of_two_kinds_is_told(tmp_path: Path) -> None:
    formats.web_dataset(tmp_path / "a.tar", formats.samples(COUNTS), COUNTS)
    formats.hugging_face(tmp_path, COUNTS)
    with pytest.raises(UserError, match="may be read as hf_parquet or as webdataset; name one file in it, or part"):
        sources.find(str(tmp_path))


def test_what_does_not_exist_or_is_no_source_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"'nowhere' does not exist; known kinds: {', '.join(KINDS)}$"):
        sources.find("nowhere")
    (tmp_path / "notes.txt").write_text("no archive")
    with pytest.raises(UserError, match=r"notes\.txt' is damaged or of no known kind; known kinds: "):
        sources.find(str(tmp_path / "notes.txt"))
