"""Files damaged at random, the same in every run.

`COUNTERWEIGHT_FUZZ` is the number of damaged files of each kind that the tests try (default 40).
"""

import os
import random
from collections.abc import Iterator

ROUNDS = int(os.environ.get("COUNTERWEIGHT_FUZZ", "40"))
TOKENS = [
    b"\0",
    b"\n",
    b'"',
    b"../",
    b"/",
    b"[[[[",
    b"}",
    b"-1",
    b"1e999",
    b"\xff",
    b"NaN",
    b"\\ud800",
    b"99999999999",
    b",",
]


def fuzzed(kind: str, content: bytes) -> Iterator[tuple[int, bytes]]:
    """`ROUNDS` damaged versions of a file, each with its number."""
    for number in range(ROUNDS):
        yield number, damaged(content, random.Random(f"{kind} {number}"))  # noqa: S311 - a seed for each round


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes flipped, cut out, doubled or replaced."""
    data = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        at, size = rng.randrange(len(data)), rng.choice([1, 1, 4, 64, 512])
        match rng.randrange(6):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at : at + size] = rng.randbytes(size)
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size] * rng.choice([1, 2, 50])
            case 4:
                token = rng.choice(TOKENS)
                data[at : at + len(token)] = token
            case 5 if rng.random() < 0.3:
                del data[at:]
        if not data:
            break
    return bytes(data)
