"""Seeds of single images, derived so that no two things share one by chance."""

import hashlib


def derive(*parts: object) -> int:
    """A seed from 0 to 2^31 - 1 that depends on `parts` alone."""
    text = "/".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
