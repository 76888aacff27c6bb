"""Looks for secrets wherever a run leaves something: files, databases, git objects, a bucket."""

import base64
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from tests.s3 import Server

SQLITE = b"SQLite format 3\0"


def forms(secret: str) -> set[bytes]:
    """A secret as it is, quoted as in a URL, and within any base64 text, wherever it begins there."""
    plain = secret.encode()
    found = {plain, quote(secret, safe="").encode()}
    for before in range(3):
        code = base64.b64encode(b"\0" * before + plain).rstrip(b"=")
        # The first characters depend on what stands before the secret, the last one on what comes after it.
        found |= {inner := code[(0, 2, 3)[before] : -1], inner.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def leaks(places: Iterator[tuple[str, bytes]], *secrets: str) -> list[str]:
    """Where any of the secrets is, in any form."""
    wanted = [form for secret in secrets for form in forms(secret)]
    return sorted({place for place, content in places if any(form in content for form in wanted)})


def places_in(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, and what databases and git repositories there hold packed."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        content = path.read_bytes()
        yield str(path), content
        if content.startswith(SQLITE):
            with closing(sqlite3.connect(path)) as database:
                yield f"{path}: its rows", "\n".join(database.iterdump()).encode()
        if path.name == "HEAD" and (path.parent / "objects").is_dir():
            command = ["git", "cat-file", "--batch-all-objects", "--batch"]
            done = subprocess.run(command, cwd=path.parent, check=True, capture_output=True)
            yield f"{path.parent}: its objects", done.stdout


def places_at(server: Server, bucket: str) -> Iterator[tuple[str, bytes]]:
    """Every object of a bucket."""
    with closing(server.client()) as client:
        for key in server.keys(bucket):
            yield f"s3://{bucket}/{key}", client.get_object(Bucket=bucket, Key=key)["Body"].read()
