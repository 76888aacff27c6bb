"""An ImageFolder under an `s3://bucket/prefix`, read object by object: nothing is copied to the disk.

Keys come from where AWS's own tools look for them (`AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or a file, or the
machine's role), the address of a server other than AWS's from `COUNTERWEIGHT_S3_ENDPOINT` or `AWS_ENDPOINT_URL`.
"""

import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from pipeline.dataset.schema import Split
from pipeline.errors import UserError
from pipeline.sources import SourceFile
from pipeline.sources.imagefolder import common_folder, is_image, place, split_folders

AHEAD = 16  # images held in memory before they are asked for, and requests under way at once
_ADDRESS = re.compile(r"s3://([^/\s]+)(?:/(.*))?")
_REFUSED = {"403", "AccessDenied", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_GONE = {"404", "412", "NoSuchKey", "PreconditionFailed"}
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"mode": "standard", "max_attempts": 5}}


def accepts(source: str) -> bool:
    """True for `s3://…`."""
    return source.startswith("s3://")


def files(source: str) -> Iterator[SourceFile]:
    """The images under the prefix, sorted by name.

    An object is pinned by its size and ETag, which come with the listing: a scan reads no image.

    Raises:
        UserError: no such bucket, a wrong key, or no class folder.
    """
    bucket, prefix = _address(source)
    client = _client()
    with _told(source, bucket):
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        listed = [entry for page in pages for entry in page.get("Contents", ())]
    entries = {entry["Key"][len(prefix) :]: entry for entry in listed}
    laid_out = list(_laid_out(source, sorted(name for name in entries if is_image(name))))
    reader = _Reader(client, source, bucket, [entries[name] for name, _, _ in laid_out])
    for number, (name, label, split) in enumerate(laid_out):
        identity = _identity(entries[name])
        yield SourceFile(name=name, label=label, split=split, read=partial(reader.read, number), identity=identity)


def _laid_out(source: str, names: list[str]) -> Iterator[tuple[str, str, Split | None]]:
    """Name, class and split of each image."""
    odd = next((name for name in names if "//" in f"/{name}"), None)
    if odd is not None:
        raise UserError(f"{source}: {odd!r} lies in a folder without a name; rename the object")
    top = common_folder(names)
    has_splits = split_folders(names, top)
    found = [(name, *place(name, top, has_splits)) for name in names]
    if all(label is None for _, _, label in found):
        at = source.rstrip("/")
        raise UserError(f"{source}: holds no class folder; expected {at}/CLASS/IMAGE, or {at}/train/CLASS/IMAGE")
    yield from ((name, label, split) for name, split, label in found if label is not None)


class _Reader:
    """Reads objects; those that are asked for one after the other it fetches ahead, since each costs a round trip."""

    def __init__(self, client: Any, source: str, bucket: str, entries: list[dict[str, Any]]) -> None:
        self._client, self._source, self._bucket, self._entries = client, source, bucket, entries
        self._pool = ThreadPoolExecutor(AHEAD)  # its threads end with the reader
        self._coming: dict[int, Future[bytes]] = {}
        self._last = -2

    def read(self, number: int) -> bytes:
        """Content of the object at a place in the listing."""
        if number == self._last + 1:
            for ahead in range(number, min(number + AHEAD, len(self._entries))):
                if ahead not in self._coming:
                    self._coming[ahead] = self._pool.submit(self._fetch, ahead)
        elif number != self._last:
            self._coming.clear()
        self._last = number
        return self._coming.pop(number).result() if number in self._coming else self._fetch(number)

    def _fetch(self, number: int) -> bytes:
        """Content of the object, if it is still the one that was listed."""
        key, etag = self._entries[number]["Key"], self._entries[number].get("ETag")
        condition = {"IfMatch": etag} if etag else {}
        with _told(self._source, self._bucket, key):
            data: bytes = self._client.get_object(Bucket=self._bucket, Key=key, **condition)["Body"].read()
        return data


def _identity(entry: dict[str, Any]) -> bytes | None:
    """What pins an object; None, so that its content does, where the server gives no ETag."""
    return f"{entry['Size']} {entry['ETag']}".encode() if entry.get("ETag") else None


def _address(source: str) -> tuple[str, str]:
    """Bucket and prefix, the latter with a slash at its end unless it is empty."""
    match = _ADDRESS.fullmatch(source)
    if match is None:
        raise UserError(f"source {source!r} names no bucket; expected s3://bucket/prefix")
    prefix = (match[2] or "").strip("/")
    return match[1], f"{prefix}/" if prefix else ""


def _client() -> Any:
    import boto3
    from botocore.config import Config

    config = Config(max_pool_connections=AHEAD + 1, **_PATIENCE)
    try:
        return boto3.Session().client("s3", endpoint_url=_server(), config=config)
    except ValueError:
        given = _server()
        raise UserError(f"COUNTERWEIGHT_S3_ENDPOINT must be a URL such as http://host:9000, got {given!r}") from None


def _server() -> str | None:
    return os.environ.get("COUNTERWEIGHT_S3_ENDPOINT") or os.environ.get("AWS_ENDPOINT_URL") or None


@contextmanager
def _told(source: str, bucket: str, key: str = "") -> Iterator[None]:
    """Turns what only the user can mend into one line; what may pass, such as a lost connection, stays as it is."""
    from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError, PartialCredentialsError

    variables = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError):
        raise UserError(f"{source}: there is no key to open it with; set {variables}") from None
    except ParamValidationError:
        raise UserError(f"{source}: {bucket!r} cannot be a bucket's name; expected s3://bucket/prefix") from None
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _REFUSED:
            raise UserError(f"{source}: access is refused ({code}); check {variables}") from None
        if code == "NoSuchBucket":
            raise UserError(f"{source}: there is no bucket {bucket!r} at {_server() or 'AWS'}") from None
        if key and code in _GONE:
            raise UserError(f"{source}: {key} was changed or deleted while it was read; run it again") from None
        raise
