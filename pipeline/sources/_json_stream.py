"""A JSON object read a piece at a time: of its long lists no more than one element is in memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from pipeline.errors import UserError

CHUNK = 2**18
MAX_VALUE_CHARS = 2**22
_DECODER = json.JSONDecoder()
_BLANK = " \t\n\r"
_ENDS = tuple(f"{_BLANK},:]}}")
_NUMBER_CHARS = 32


def elements(path: Path) -> Iterator[tuple[str, Any]]:
    """Yields (key, element) for each element of each list in the object, and (key, value) for what is no list.

    Raises:
        UserError: the file is no JSON object, is nested too deeply, or a value in it is absurdly long.
    """
    with path.open(encoding="utf-8-sig") as file:
        try:
            yield from _Reader(file).elements()
        except (ValueError, RecursionError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{path}: is no JSON object that can be read ({str(error)[:100]})") from None


class _Reader:
    """A window on the text that is left."""

    def __init__(self, file: IO[str]) -> None:
        self._file, self._text, self._at = file, "", 0

    def elements(self) -> Iterator[tuple[str, Any]]:
        self._expect("{")
        if self._peek() == "}":
            return
        while True:
            key = self._value()
            if not isinstance(key, str):
                raise ValueError(f"a key is {str(key)[:40]}")
            self._expect(":")
            if self._peek() == "[":
                for element in self._list():
                    yield key, element
            else:
                yield key, self._value()
            if self._expect(",}") == "}":
                break
        if self._peek():
            raise ValueError("more follows after the object's end")

    def _list(self) -> Iterator[Any]:
        self._expect("[")
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            yield self._value()
            if self._expect(",]") == "]":
                return

    def _value(self) -> Any:
        """The next value, whatever it is."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except ValueError:
                if not self._read_on():
                    raise
            else:
                # of a number that the window cuts the beginning is a number too
                is_whole = end + _NUMBER_CHARS < len(self._text) or self._text[end : end + 1] in _ENDS
                if is_whole or not self._read_on():
                    self._at = end
                    return value

    def _peek(self) -> str:
        """The next sign that is no blank, "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _BLANK:
                self._at += 1
            if self._at < len(self._text) or not self._read_on():
                return self._text[self._at : self._at + 1]

    def _expect(self, signs: str) -> str:
        found = self._peek()
        if not found or found not in signs:
            raise ValueError(f"expected {' or '.join(signs)}, found {repr(found) if found else 'the end'}")
        self._at += 1
        return found

    def _read_on(self) -> bool:
        """Widens the window, to twice what is left of it; False at the file's end."""
        self._text, self._at = self._text[self._at :], 0
        if len(self._text) > MAX_VALUE_CHARS:
            raise ValueError(f"a value has more than {MAX_VALUE_CHARS} characters")
        more = self._file.read(max(CHUNK, len(self._text)))
        self._text += more
        return bool(more)
