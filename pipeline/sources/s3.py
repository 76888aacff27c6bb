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
from typing import Any, NamedTuple

from pipeline.dataset.schema import Split
from pipeline.errors import PassingError, UserError
from pipeline.sources import AHEAD, SourceFile
from pipeline.sources._columns import refuse_made_rows, tells_origin
from pipeline.sources.imagefolder import common_folder, is_image, place, split_folders

_ADDRESS = re.compile(r"s3://([^/\s]+)(?:/(.*))?")
_REFUSED = {"403", "AccessDenied", "ExpiredToken", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_GONE = {"404", "412", "NoSuchKey", "PreconditionFailed"}
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"mode": "standard", "max_attempts": 5}}
_READ_ATTEMPTS = 3  # of an object whose content breaks off, which the client does not ask for again by itself
_KEY = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_PLACE = "COUNTERWEIGHT_S3_ENDPOINT or AWS_ENDPOINT_URL"


def accepts(source: str) -> bool:
    """True for `s3://…`."""
    return source.startswith("s3://")


def files(source: str) -> Iterator[SourceFile]:
    """The images under the prefix, sorted by name.

    An object is pinned by its size and ETag, which come with the listing: a scan reads no image.

    Raises:
        UserError: no such bucket, a wrong key, no class folder, or a table that tells of made images.
    """
    bucket, prefix = _address(source)
    with _told(source, bucket):
        client = _client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        listed = {
            entry["Key"][len(prefix) :]: _Object(entry["Size"], entry.get("ETag"))
            for page in pages
            for entry in page.get("Contents", ())
            if is_image(entry["Key"][len(prefix) :]) or tells_origin(entry["Key"])
        }
    reader = _Reader(client, source, bucket)
    for name in sorted(filter(tells_origin, listed)):
        refuse_made_rows(f"{source}: {name}", reader.read(prefix + name, listed.pop(name).etag))
    for name, label, split in _laid_out(source, sorted(listed)):
        found = listed[name]
        yield SourceFile(
            name=name,
            label=label,
            split=split,
            read=partial(reader.read, prefix + name, found.etag),
            prepare=partial(reader.prepare, prefix + name, found.etag),
            identity=found.identity,
            size=found.size if found.identity else None,
        )


class _Object(NamedTuple):
    """What a listing says of an object."""

    size: int
    etag: str | None

    @property
    def identity(self) -> bytes | None:
        """What pins it; None, so that its content does, where the server gives no ETag."""
        return f"{self.size} {self.etag}".encode() if self.etag else None


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
    """Reads objects; those that are prepared it fetches in the background, since each costs a round trip."""

    def __init__(self, client: Any, source: str, bucket: str) -> None:
        self._client, self._source, self._bucket = client, source, bucket
        self._pool = ThreadPoolExecutor(AHEAD)  # its threads end with the reader
        self._coming: dict[str, Future[bytes]] = {}

    def prepare(self, key: str, etag: str | None) -> None:
        """Begins to fetch an object that will be read."""
        self._coming[key] = self._pool.submit(self._fetch, key, etag)

    def read(self, key: str, etag: str | None) -> bytes:
        """Content of an object."""
        return self._coming.pop(key).result() if key in self._coming else self._fetch(key, etag)

    def _fetch(self, key: str, etag: str | None) -> bytes:
        """Content of the object, if it is still the one that was listed."""
        from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

        condition = {"IfMatch": etag} if etag else {}
        with _told(self._source, self._bucket, key):
            for attempt in range(1, _READ_ATTEMPTS + 1):
                try:
                    data: bytes = self._client.get_object(Bucket=self._bucket, Key=key, **condition)["Body"].read()
                    break
                except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
                    if attempt == _READ_ATTEMPTS:
                        raise
        return data


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
    """Says in one line what is wrong with a server, a bucket or a key.

    Raises:
        UserError: whatever the client could not do.
    """
    from botocore import exceptions

    server = _server() or "AWS"
    try:
        yield
    except (exceptions.NoCredentialsError, exceptions.PartialCredentialsError):
        raise UserError(f"{source}: there is no key to open it with; set {_KEY}") from None
    except exceptions.ParamValidationError:
        raise UserError(f"{source}: {bucket!r} cannot be a bucket's name; expected s3://bucket/prefix") from None
    except exceptions.ClientError as error:
        kind = UserError if _is_lasting(error.response) else PassingError
        raise kind(f"{source}: {_answer(error.response.get('Error', {}), bucket, key, server)}") from None
    except exceptions.BotoCoreError as error:
        why = f"cannot be read from {server} ({' '.join(str(error).split())[:200]})"
        raise PassingError(f"{source}: {why}; run it again, or correct {_PLACE}") from None


def _answer(error: dict[str, Any], bucket: str, key: str, server: str) -> str:
    """What a server's refusal means."""
    code = str(error.get("Code", ""))
    if code in _REFUSED:
        return f"access is refused ({code}); check {_KEY}"
    if code == "NoSuchBucket":
        return f"there is no bucket {bucket!r} at {server}"
    if key and code in _GONE:
        return f"{key} was changed or deleted while it was read; run it again"
    said = " ".join(str(error.get("Message", "")).split())[:200]
    return f"{server} answers {code or 'with an error'} ({said}); run it again, or correct {_PLACE}"


def _is_lasting(response: dict[str, Any]) -> bool:
    """Whether a server will refuse again: it says that the request is at fault, and not that it is busy."""
    status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    return status < 500 and status != 429
