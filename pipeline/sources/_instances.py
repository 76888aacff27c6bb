"""What a COCO instances JSON says (https://cocodataset.org/#format-data), in 32 bytes a box."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.sources._columns import Box, box, text
from pipeline.sources._json_stream import elements
from pipeline.sources._named import plain_name

MAX_ELEMENTS = 50_000_000
_HOLDS = "a COCO instances file holds the lists images, annotations and categories"


@dataclass
class _Names:
    """Names by id, in the order in which the ids first come up."""

    kind: str
    number_of: dict[int | str, int] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def number(self, where: str, given: Any) -> int:
        if not isinstance(given, (int, str)):
            raise UserError(f"{where}: {self.kind} must be a number or text, got {str(given)[:80]!r}")
        return self.number_of.setdefault(given, len(self.number_of))

    def add(self, where: str, given: Any, name: str) -> None:
        number = self.number(where, given)
        if number in self.names:
            raise UserError(f"{where}: the id {given!r} is there twice")
        self.names[number] = name

    def refuse_unknown(self, path: Path) -> None:
        for given, number in self.number_of.items():
            if number not in self.names:
                raise UserError(f"{path}: an annotation has the {self.kind} {given!r}, which is not in the file")


class Instances:
    """The boxes of one file."""

    def __init__(self) -> None:
        self._images, self._categories = _Names("image_id"), _Names("category_id")
        self._image_of, self._category_of, self._boxes = array("i"), array("i"), array("i")

    @classmethod
    def read(cls, path: Path) -> "Instances":
        """Reads a file.

        Raises:
            UserError: it is no instances file, or something in it is wrong; says where.
        """
        found, counts = cls(), dict.fromkeys(("images", "annotations", "categories"), 0)
        for key, element in elements(path):
            if key not in counts:
                continue
            counts[key] += 1
            where = f"{path}: number {counts[key]} of {key}"
            if not isinstance(element, dict) or counts[key] > MAX_ELEMENTS:
                raise UserError(f"{where}: is no object, or one too many; {_HOLDS}")
            found._add(key, where, element)
        missing = [key for key, count in counts.items() if not count]
        if missing:
            raise UserError(f"{path}: holds no {' and no '.join(missing)}; {_HOLDS}")
        found._images.refuse_unknown(path)
        found._categories.refuse_unknown(path)
        if not found._image_of:
            raise UserError(f"{path}: holds no box")
        return found

    @property
    def file_names(self) -> list[str]:
        """Names of the files that have a box, in the file's order."""
        numbers = np.unique(np.frombuffer(self._image_of, np.int32))
        return [self._images.names[number] for number in numbers.tolist()]

    def by_file(self) -> Iterator[tuple[str, Iterator[tuple[Box, str]]]]:
        """Each file's name with its boxes and their classes, in the file's order."""
        image_of = np.frombuffer(self._image_of, np.int32)
        order = np.argsort(image_of, kind="stable")
        for image, places in groupby(map(int, order), key=self._image_of.__getitem__):
            yield self._images.names[image], map(self._instance, places)

    def _instance(self, place: int) -> tuple[Box, str]:
        x, y, width, height = self._boxes[4 * place : 4 * place + 4]
        return (x, y, width, height), self._categories.names[self._category_of[place]]

    def _add(self, key: str, where: str, element: dict[str, Any]) -> None:
        if key == "images":
            name = element.get("file_name")
            if not isinstance(name, str):
                raise UserError(f"{where}: file_name must be text, got {str(name)[:80]!r}")
            self._images.add(where, element.get("id"), plain_name(where, name))
        elif key == "categories":
            label = text(where, "name", element.get("name"))
            if label is None:
                raise UserError(f"{where}: has no name")
            self._categories.add(where, element.get("id"), label)
        elif not element.get("iscrowd"):
            if "bbox" not in element:
                raise UserError(f"{where}: has no bbox")
            numbers = element["bbox"] if isinstance(element["bbox"], list) else [element["bbox"]]
            self._image_of.append(self._images.number(where, element.get("image_id")))
            self._category_of.append(self._categories.number(where, element.get("category_id")))
            self._boxes.extend(box(where, numbers))
