"""Writes data sets of ours in a format that others read: imagefolder, webdataset or hf_parquet."""

from pathlib import Path

from pipeline import registry
from pipeline.atomic import new_folder
from pipeline.dataset import Dataset
from pipeline.errors import UserError
from pipeline.progress import log, track

_SPLITS = ("train", "val", "test")


def run(datasets: tuple[str, ...], to: Path, *, format: str = "imagefolder") -> None:  # noqa: A002 - the option's name
    """Writes one or more data sets (data/real, data/synthetic, …) into the new folder `to`, as one.

    Raises:
        UserError: no data set there, classes that differ, an unknown format, or a folder that is not empty.
    """
    module = registry.get("pipeline.exports", format)
    dataset = Dataset.open([part for given in datasets for part in _parts(Path(given))])
    _refuse_target(to, dataset)
    with new_folder(to) as folder:
        module.write(track(dataset.rows(), f"export {to}", dataset.num_rows, "image"), dataset.class_names, folder)
    log(f"export: {dataset.num_rows} images of {dataset.num_classes} classes in {to}")


def _parts(path: Path) -> list[Path]:
    """The folder itself, or the data sets of the splits in it (data/real)."""
    parts = [path / split for split in _SPLITS if any((path / split).glob("*.parquet"))]
    return [path] if any(path.glob("*.parquet")) or not parts else parts


def refuse_filled(to: Path) -> None:
    """Stops at a folder that holds something, or a file.

    Raises:
        UserError: `to` is one.
    """
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise UserError(f"{to}: is there already and not empty; name a new folder")


def _refuse_target(to: Path, dataset: Dataset) -> None:
    refuse_filled(to)
    inside = next((path for path in dataset.folders if to.resolve().is_relative_to(path.resolve())), None)
    if inside is not None:
        raise UserError(f"{to}: lies in the data set {inside}; name a folder outside it")
    if not dataset.num_rows:
        raise UserError(f"{', '.join(map(str, dataset.folders))}: holds no image to export")
