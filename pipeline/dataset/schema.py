"""One schema for real, augmented and synthetic images."""

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from pipeline.images import Pixels, encode_png, pixel_hash

Split = Literal["train", "val", "test"]
Origin = Literal["real", "augmented", "synthetic"]

_COLUMNS: dict[str, pa.DataType] = {
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "label": pa.int64(),
    "id": pa.string(),
    "pixel_hash": pa.string(),
    "split": pa.string(),
    "origin": pa.string(),
    "parent_id": pa.string(),
    "seed": pa.int64(),
    "weight": pa.float32(),
    "quality": pa.float32(),
    "width": pa.int32(),
    "height": pa.int32(),
    "source_width": pa.int32(),
    "source_height": pa.int32(),
    "group": pa.string(),
}
LATER = ("source_width", "source_height", "group")  # columns that earlier versions did not write


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image.

    Attributes:
        image: PNG bytes.
        path: where it came from, for people; no key.
        id: sha256 of `image`.
        pixel_hash: sha256 of the decoded pixels.
        parent_id: `id` of the image that an augmented one was made of.
        seed: seed that an augmented or synthetic image was made with.
        weight: weight of the row in the classifier's loss.
        quality: how near the image is to its class, 1 (best) to 0; real images have none.
        source_width, source_height: pixels of a real image before it was brought to `width` x `height`.
        group: what a real image must not be parted from by a split (patient, camera, series), if the source says so;
            an augmented image has its parent's, a synthetic one that which it was drawn for.
    """

    image: bytes
    path: str
    label: int
    id: str
    pixel_hash: str
    split: Split
    origin: Origin
    parent_id: str | None
    seed: int | None
    weight: float
    quality: float | None
    width: int
    height: int
    source_width: int | None = None
    source_height: int | None = None
    group: str | None = None


def make_row(
    pixels: Pixels,
    label: int,
    *,
    path: str,
    split: Split = "train",
    origin: Origin,
    parent_id: str | None = None,
    seed: int | None = None,
    weight: float = 1.0,
    quality: float | None = None,
    group: str | None = None,
) -> Row:
    """Encodes `pixels` and fills in what follows from them."""
    image = encode_png(pixels)
    return Row(
        image=image,
        path=path,
        label=label,
        id=hashlib.sha256(image).hexdigest(),
        pixel_hash=pixel_hash(pixels),
        split=split,
        origin=origin,
        parent_id=parent_id,
        seed=seed,
        weight=weight,
        quality=quality,
        width=pixels.shape[1],
        height=pixels.shape[0],
        group=group,
    )


def schema(class_names: tuple[str, ...]) -> pa.Schema:
    """The Arrow schema, with class names in the metadata the way Hugging Face `datasets` reads them."""
    features: dict[str, object] = {name: {"dtype": str(kind), "_type": "Value"} for name, kind in _COLUMNS.items()}
    features |= {"image": {"_type": "Image"}, "label": {"names": list(class_names), "_type": "ClassLabel"}}
    features |= {name: {"dtype": "float32", "_type": "Value"} for name in ("weight", "quality")}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, ensure_ascii=False)}
    return pa.schema(list(_COLUMNS.items()), metadata=metadata)


def class_names(arrow: pa.Schema) -> tuple[str, ...]:
    """The class names that `schema` put in.

    Raises:
        ValueError: the schema was not written by us.
    """
    try:
        return tuple(json.loads(arrow.metadata[b"huggingface"])["info"]["features"]["label"]["names"])
    except (KeyError, TypeError, ValueError):
        raise ValueError("no class names in the Parquet schema") from None


def to_batch(rows: list[Row], arrow: pa.Schema) -> pa.RecordBatch:
    """Rows as an Arrow record batch."""
    columns = {name: [getattr(row, name) for row in rows] for name in _COLUMNS if name != "image"}
    images = [{"bytes": row.image, "path": row.path} for row in rows]
    return pa.RecordBatch.from_pydict({"image": images, **columns}, schema=arrow)
