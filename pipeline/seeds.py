"""Seeds of single things, derived so that no two share one by chance, and torch's generator under one of them."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager


def derive(*parts: object) -> int:
    """A seed from 0 to 2^31 - 1 that depends on `parts` alone."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Within it torch draws what the seed says; after it torch goes on as if nothing had been drawn."""
    import torch  # what only derives seeds does without

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
