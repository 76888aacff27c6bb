"""WebDataset: tar shards in which the files of a sample stand together and share a name up to its first dot.

A sample is `key.jpg` (or any other image) with `key.cls`, a number or text, or `key.json` with a label (and split,
group or box if wanted). Numbers are names where a `classes.txt` with a class a line lies beside the shards. The source
is a folder of shards, a pattern such as `shards-{000..010}.tar`, or one shard. The split is what the JSON says, else
the shard's name (train-000000.tar), else its folder's.
"""

import os
import re
from collections.abc import Iterator
from functools import partial
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.images import SUFFIXES
from pipeline.sources import SourceFile, _tar
from pipeline.sources._braces import expand, is_pattern
from pipeline.sources._columns import Facts, facts, roles, text
from pipeline.sources._named import read_file
from pipeline.sources._shards import has_shards, shards, splits_of
from pipeline.sources._tables import json_object

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst")
MAX_TEXT_BYTES = 2**20
CLASSES = "classes.txt"
_PEEKED = 100
_LABEL = "\0"  # a key that no JSON of a sample has
_SAMPLE = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)", re.DOTALL)


class Sample(NamedTuple):
    """The files of a sample that count."""

    key: str
    image: _tar.Member | None
    cls: str | None
    json: str | None


def accepts(source: str) -> bool:
    """True for a folder of tars without class folders, a pattern of tars, and a tar that begins with samples."""
    path = Path(source)
    if path.exists():
        return has_shards(source, ENDINGS) or (path.is_file() and path.name.endswith(ENDINGS) and _is_shard(path))
    return "://" not in source and source.endswith(ENDINGS) and is_pattern(source)


def files(source: str) -> Iterator[SourceFile]:
    """The samples, shard by shard in their order; one without an image can't be read.

    Raises:
        UserError: a shard is missing, damaged or hostile, or a sample has no class; says which.
    """
    path, is_empty = Path(source), True
    if path.is_dir():
        root, found = path, shards(path, ENDINGS)
    else:
        found = [path] if path.exists() else [Path(name) for name in expand(source)]
        root = Path(os.path.commonpath([shard.parent for shard in found]))
    for shard, split in splits_of(root, found).items():
        if not shard.is_file():
            raise UserError(f"{source}: there is no {shard}")
        classes = _classes(shard.parent / CLASSES) or _classes(root / CLASSES)
        for file in _shard_files(shard, root, split, classes):
            is_empty = False
            yield file
    if is_empty:
        raise UserError(f"{source}: holds no sample such as 000001.jpg with 000001.cls")


def _shard_files(shard: Path, root: Path, split: Split | None, classes: tuple[str, ...]) -> Iterator[SourceFile]:
    seen: set[str] = set()
    with _tar.Stream(shard) as stream, _tar.Stream(shard) as images:
        for sample in _samples(shard, stream):
            inside = sample.key if sample.image is None else sample.image.name
            where = f"{shard}: sample {sample.key[:200]!r}"
            if inside in seen:
                raise UserError(f"{where} is there twice")
            seen.add(inside)
            said = _facts(where, sample, classes)
            yield SourceFile(
                name=f"{shard.relative_to(root).as_posix()}/{inside}",
                label=said.label,
                split=said.split or split,
                group=said.group,
                box=said.box,
                read=partial(_read, images, sample),
                listed=True,
            )


def _read(images: _tar.Stream, sample: Sample) -> bytes:
    if sample.image is None:
        raise OSError(f"sample {sample.key!r} holds no image")
    return _tar.read(images, sample.image)


def _samples(shard: Path, stream: _tar.Stream) -> Iterator[Sample]:
    """The samples of a shard; labels are read as they pass, since a packed tar cannot go back."""
    for key, parts in groupby(_parts(shard, stream), key=lambda part: part[0]):
        found = Sample(key, None, None, None)
        for _, kind, value in parts:
            if getattr(found, kind) is not None:
                raise UserError(f"{shard}: sample {key[:200]!r} holds more than one {kind}")
            found = found._replace(**{kind: value})
        yield found


def _parts(shard: Path, stream: _tar.Stream) -> Iterator[tuple[str, str, Any]]:
    """(key, "image", where it is) or (key, "cls" or "json", its text), member by member."""
    for member in _tar.members(shard, stream):
        match = _SAMPLE.fullmatch(str(PurePosixPath(member.name)))
        if match is None:
            continue
        ending = match[2].lower().rpartition(".")[2]
        if f".{ending}" in SUFFIXES:
            yield match[1], "image", member
        elif ending in ("cls", "json"):
            if member.size > MAX_TEXT_BYTES:
                raise UserError(f"{shard}: {member.name[:200]!r} has {member.size} bytes, more than {MAX_TEXT_BYTES}")
            yield match[1], ending, _text(f"{shard}: {member.name[:200]!r}", _tar.read(stream, member))


def _facts(where: str, sample: Sample, classes: tuple[str, ...]) -> Facts:
    row = json_object(where, sample.json) if sample.json is not None else {}
    meaning = roles(where.partition(": sample")[0], tuple(row), needs=())
    given = row.get(meaning.label or "") if sample.cls is None else sample.cls
    label = text(where, "label", given)
    if label is None:
        raise UserError(f"{where} has no class; expected a .cls, or a label in a .json")
    is_number = isinstance(given, int) or (sample.cls is not None and label.isdecimal())
    if classes and is_number and int(label) < len(classes):
        label = classes[int(label)]
    elif classes and (is_number or label not in classes):
        raise UserError(f"{where} has the class {label!r}, which is none of the {len(classes)} in {CLASSES}")
    return facts(where, row | {_LABEL: label}, meaning._replace(label=_LABEL))


def _classes(path: Path) -> tuple[str, ...]:
    """The names in `classes.txt`, one a line; none where there is no such file."""
    if not path.is_file():
        return ()
    lines = _text(str(path), read_file(path)).splitlines()
    names = tuple(text(f"{path}: line {number}", "name", line) or "" for number, line in enumerate(lines, 1))
    if len(set(names)) < len(names) or "" in names:
        raise UserError(f"{path}: must hold a class a line, none empty and none twice")
    return names


def _text(where: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{where} is no UTF-8") from None


def _is_shard(path: Path) -> bool:
    """Whether a tar begins with samples: a .cls, or a .json beside the images and no folder."""
    try:
        with _tar.Stream(path) as stream:
            names = [member.name.removeprefix("./") for member in islice(_tar.members(path, stream), _PEEKED)]
    except (UserError, OSError):
        return False
    has_folder = any("/" in name for name in names)
    return any(name.endswith(".cls") or (name.endswith(".json") and not has_folder) for name in names)
