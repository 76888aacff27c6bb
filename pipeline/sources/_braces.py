"""Names of many files in one pattern, as a shell expands it: `shards-{000..010}.tar`, `{train,val}-{0..9}.tar`."""

import re
from itertools import product

from pipeline.errors import UserError

MAX_NAMES = 100_000
_PART = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")


def is_pattern(text: str) -> bool:
    """Whether braces in `text` stand for several names."""
    return any(".." in part or "," in part for part in _PART.findall(text))


def expand(pattern: str) -> list[str]:
    """All names in order; numbers keep their leading zeros.

    Raises:
        UserError: a brace holds neither a range nor a list, or there are too many names.
    """
    texts, choices, total = _PART.split(pattern)[::2], [], 1
    for part in _PART.findall(pattern):
        choices.append(_choices(pattern, part))
        total *= len(choices[-1])
        if total > MAX_NAMES:
            raise UserError(f"{pattern}: stands for more than {MAX_NAMES} names")
    if any(sign in text for text in texts for sign in "{}"):
        raise UserError(f"{pattern}: braces lie in braces or are not closed; expected such as {{000..010}} or {{a,b}}")
    return ["".join(map("".join, zip(texts, (*chosen, ""), strict=True))) for chosen in product(*choices)]


def _choices(pattern: str, part: str) -> list[str]:
    match = _RANGE.fullmatch(part)
    if match is None:
        if "," not in part:
            raise UserError(f"{pattern}: {{{part}}} is no range and no list; expected such as {{000..010}} or {{a,b}}")
        return part.split(",")
    first, last = int(match[1]), int(match[2])
    if first > last or last - first >= MAX_NAMES:
        raise UserError(f"{pattern}: {{{part}}} must rise, by at most {MAX_NAMES}")
    return [f"{number:0{len(match[1])}d}" for number in range(first, last + 1)]
