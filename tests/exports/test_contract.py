"""What every export must do; a new format in the folder is tested unasked: what it writes is a source of the same."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import registry, sources
from pipeline.commands import export
from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.images import decode_png, pixel_hash
from tests.builders import Built, build, digests, image_folder, tar_of, write_dataset, zip_of

FORMATS = registry.names("pipeline.exports")
every_format = pytest.mark.parametrize("name", FORMATS)
Facts = list[tuple[str, str, str]]


@pytest.fixture
def real(tmp_path: Path) -> Built:
    """Real data in three splits; one class has a name that no folder can have."""
    counts = {
        f"{split}/{name}": n for split, n in (("train", 9), ("val", 2), ("test", 3)) for name in ("cat", "größe: 50 %")
    }
    return build(image_folder(tmp_path / "in", counts), tmp_path / "data" / "real")


def of_dataset(*folders: Path) -> Facts:
    """(class, split, hash of the pixels) of each image, sorted."""
    dataset = Dataset.open(folders)
    return sorted((dataset.class_names[row.label], row.split, row.pixel_hash) for row in dataset.rows())


@every_format
def test_what_is_exported_is_a_source_of_the_same_images(name: str, real: Built, tmp_path: Path) -> None:
    export.run((str(real.root),), tmp_path / "out", format=name)
    found = [
        (file.label, file.split, pixel_hash(decode_png(file.read()))) for file in sources.files(str(tmp_path / "out"))
    ]
    assert sorted(found) == of_dataset(*(real.root / split for split in Built.SPLITS))
    assert len(found) == 28


@every_format
def test_ingest_of_an_export_gives_the_same_data_set(name: str, real: Built, tmp_path: Path) -> None:
    export.run((str(real.root),), tmp_path / "out", format=name)
    again = build(tmp_path / "out", tmp_path / "again")
    assert again.quarantine == []
    for split in Built.SPLITS:
        assert of_dataset(again.root / split) == of_dataset(real.root / split)
        assert again.split(split).class_names == real.split(split).class_names


@every_format
@pytest.mark.parametrize("origin", ["augmented", "synthetic"])
def test_made_images_are_no_source(name: str, origin: str, real: Built, tmp_path: Path) -> None:
    made = write_dataset(tmp_path / "made", dict.fromkeys(real.split("train").class_names, 1), origin=origin)
    export.run((str(real.root), str(made)), tmp_path / "out", format=name)
    with pytest.raises(UserError, match=f"is an image of origin '{origin}', but a source must hold real images only"):
        list(sources.files(str(tmp_path / "out")))
    with pytest.raises(UserError, match=f"row 1 is an image of origin '{origin}'"):
        list(sources.files(str(made)))


@pytest.mark.parametrize("pack", [zip_of, tar_of])
def test_an_archive_of_an_export_with_made_images_is_no_source(
    pack: Callable[[Path, Path], Path], real: Built, tmp_path: Path
) -> None:
    made = write_dataset(tmp_path / "made", {"cat": 1, "größe: 50 %": 1}, origin="synthetic")
    export.run((str(real.root), str(made)), tmp_path / "out", format="imagefolder")
    told = r"archive: train/metadata\.csv: row 20 is an image of origin 'synthetic'"  # after a header and 18 real ones
    with pytest.raises(UserError, match=told):
        list(sources.files(str(pack(tmp_path / "out", tmp_path / "archive"))))


@every_format
def test_several_data_sets_are_joined_and_an_image_may_be_in_two(name: str, tmp_path: Path) -> None:
    parts = [write_dataset(tmp_path / "a", {"cat": 3, "dog": 2}), write_dataset(tmp_path / "b", {"cat": 2, "dog": 4})]
    export.run(tuple(map(str, parts)), tmp_path / "out", format=name)
    found = [(file.name, pixel_hash(decode_png(file.read()))) for file in sources.files(str(tmp_path / "out"))]
    assert len({name for name, _ in found}) == 11
    assert sorted(key for _, key in found) == sorted(key for *_, key in of_dataset(*parts))


@every_format
def test_equal_data_sets_give_equal_bytes(name: str, real: Built, tmp_path: Path) -> None:
    for place in ("one", "two"):
        export.run((str(real.root),), tmp_path / place, format=name)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


@every_format
def test_a_failed_export_leaves_nothing(name: str, real: Built, tmp_path: Path) -> None:
    shard = next((real.root / "test").glob("*.parquet"))
    content = bytearray(shard.read_bytes())
    content[200:2000] = b"\xff" * 1800
    shard.write_bytes(content)
    with pytest.raises((OSError, ValueError)):
        export.run((str(real.root),), tmp_path / "new" / "out", format=name)
    assert list((tmp_path / "new").iterdir()) == []


@every_format
def test_a_folder_that_is_not_empty_is_left_alone(name: str, real: Built, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    export.run((str(real.root),), tmp_path / "out", format=name)
    before = digests(tmp_path / "out")
    with pytest.raises(UserError, match="out: is there already and not empty; name a new folder"):
        export.run((str(real.root),), tmp_path / "out", format=name)
    assert digests(tmp_path / "out") == before
