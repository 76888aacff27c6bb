"""Labelled images in the formats of other tools, written by those tools where they have a writer."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.images import encode_png
from tests.builders import image_folder, picture, save


def write_table(path: Path, records: Iterable[Mapping[str, Any]]) -> Path:
    """Writes records as CSV, TSV, JSON lines or Parquet, by the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = list(records)
    columns = list(dict.fromkeys(name for record in records for name in record))
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{name: r.get(name) for name in columns} for r in records]), path)
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix in (".jsonl", ".ndjson"):
            file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        else:
            table = csv.DictWriter(file, columns, delimiter="\t" if path.suffix == ".tsv" else ",")
            table.writeheader()
            table.writerows(records)
    return path


def listed(folder: Path, counts: Mapping[str, int], column: str = "path") -> list[dict[str, Any]]:
    """Writes images pictures/000.png, …; returns a record for each."""
    records = []
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            path = f"pictures/{label}{number:03d}.png"
            save(folder / path, picture(label, number))
            records.append({column: path, "label": name})
    return records


def hugging_face(folder: Path, counts: Mapping[str, int], name: str = "train-00000-of-00001.parquet") -> Path:
    """Writes a shard with the library `datasets`."""
    import datasets

    rows = [
        {"image": {"bytes": encode_png(picture(label, number)), "path": f"{number}.png"}, "label": label}
        for label, count in enumerate(counts.values())
        for number in range(count)
    ]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(counts))})
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
    datasets.Dataset(table, info=datasets.DatasetInfo(features=features)).to_parquet(folder / name)
    return folder / name


def samples(counts: Mapping[str, int], start: int = 0) -> Iterator[dict[str, Any]]:
    """Samples with the number of the class as `cls`."""
    for label, count in enumerate(counts.values()):
        for number in range(start, start + count):
            yield {"__key__": f"{label}{number:05d}", "png": encode_png(picture(label, number)), "cls": label}


def web_dataset(path: Path, records: Iterable[Mapping[str, Any]], classes: Iterable[str] = ()) -> Path:
    """Writes a shard with the library `webdataset`, packed if it is named .gz, and a classes.txt if asked for."""
    import webdataset

    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path), mtime=0) as writer:
        for record in records:
            writer.write(dict(record))
    if classes:
        (path.parent / "classes.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    return path


def coco(table: Path, sizes: Mapping[str, tuple[int, int]], boxes: Iterable[tuple[str, str, Any]], **more: Any) -> Path:
    """Writes an instances JSON.

    Args:
        sizes: (width, height) of each file.
        boxes: (file, category, bbox) of each annotation.
        more: further annotations, images or categories, and other keys.
    """
    boxes = list(boxes)
    categories = list(dict.fromkeys(name for _, name, _ in boxes))
    number = {name: 10 + place for place, name in enumerate(sizes)}
    content: dict[str, Any] = {
        "info": {"description": "drawn", "nested": [1, {"a": []}]},
        "licenses": [],
        "images": [
            {"id": number[name], "file_name": name, "width": width, "height": height}
            for name, (width, height) in sizes.items()
        ],
        "annotations": [
            {"id": place, "image_id": number[name], "category_id": categories.index(label) * 7, "bbox": box}
            for place, (name, label, box) in enumerate(boxes)
        ],
        "categories": [{"id": place * 7, "name": name} for place, name in enumerate(categories)],
    }
    for key, value in more.items():
        content[key] = content.get(key, []) + value if isinstance(value, list) else value
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return table


def manifests(folder: Path, counts: Mapping[str, int]) -> list[str]:
    """One list of the same images in each format."""
    records = listed(folder, counts)
    return [str(write_table(folder / f"list{ending}", records)) for ending in (".csv", ".tsv", ".jsonl", ".parquet")]


def hf_image_folders(folder: Path, counts: Mapping[str, int]) -> list[str]:
    """With metadata at the top, beside each split, and in class folders."""
    write_table(folder / "flat" / "metadata.csv", listed(folder / "flat", counts, "file_name"))
    for split in ("train", "test"):
        write_table(folder / "split" / split / "metadata.jsonl", listed(folder / "split" / split, counts, "file_name"))
    image_folder(folder / "classes", counts)
    records = [{"file_name": f"{name}/000.png", "label": name} for name in counts]
    write_table(folder / "classes" / "metadata.parquet", records)
    return [str(folder / name) for name in ("flat", "split", "classes")]


def hf_parquets(folder: Path, counts: Mapping[str, int]) -> list[str]:
    """A shard alone, a folder of shards, and shards in folders."""
    hugging_face(folder / "flat", counts)
    hugging_face(folder / "flat", counts, "test-00000-of-00001.parquet")
    hugging_face(folder / "hub" / "data" / "train", counts, "0000.parquet")
    return [str(folder / "flat" / "train-00000-of-00001.parquet"), str(folder / "flat"), str(folder / "hub")]


def web_datasets(folder: Path, counts: Mapping[str, int]) -> list[str]:
    """A shard alone, plain and packed, a folder of shards, and a pattern."""
    for number in range(2):
        web_dataset(folder / "shards" / f"s-{number:03d}.tar", samples(counts, start=10 * number), counts)
        web_dataset(folder / "packed" / f"train-{number}.tar.gz", samples(counts, start=10 * number), counts)
    one = web_dataset(folder / "one.tar", samples(counts), counts)
    return [str(one), str(folder / "shards"), str(folder / "packed"), str(folder / "shards" / "s-{000..001}.tar")]


def cocos(folder: Path, counts: Mapping[str, int]) -> list[str]:
    """An instances JSON beside its images, and a folder with one a split."""
    names = [f"{number:012d}.png" for number in range(2)]
    boxes = [(name, label, [number, 1, 8, 9]) for name in names for number, label in enumerate(counts)]
    for split in ("train", "val"):
        for number, name in enumerate(names):
            save(folder / f"{split}2017" / name, picture(number, 0 if split == "train" else 1, 16, 16))
        coco(folder / "annotations" / f"instances_{split}2017.json", dict.fromkeys(names, (16, 16)), boxes)
    return [str(folder / "annotations" / "instances_train2017.json"), str(folder)]
