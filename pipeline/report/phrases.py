"""Text for a terminal, broken between phrases rather than within one."""

import re
import textwrap

from rich.cells import cell_len

INDENT = "  "  # of every line but the first
ENDS = (",", ":", ";", ".")


def filled(text: str, width: int) -> str:
    """The text in lines of at most `width` columns; what fits a line stays whole, longer phrases break at brackets."""
    lines: list[str] = []
    for part in [part for phrase in phrases(text) for part in _parts(phrase, width)]:
        indent = INDENT if lines else ""
        if lines and cell_len(f"{lines[-1]} {part}") <= width:
            lines[-1] += f" {part}"
        elif cell_len(indent + part) <= width:
            lines.append(indent + part)
        else:
            lines += textwrap.wrap(part, width, initial_indent=indent, subsequent_indent=INDENT)
    return "\n".join(lines)


def _parts(phrase: str, width: int) -> list[str]:
    return [phrase] if cell_len(INDENT + phrase) <= width else re.split(r" (?=[(\[])", phrase)


def phrases(text: str) -> list[str]:
    """The text cut after each comma, colon, semicolon and full stop; what stands in brackets stays whole."""
    parts, start, depth = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == " " and depth == 0 and text[start:place].endswith(ENDS):
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]
