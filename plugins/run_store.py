"""The state of runs, shared by workers that share no disk: small files in a folder or under an `s3://` prefix.

Keys are scoped by run, and a key is only ever written once: a second writer with other content is told so. That makes a
retry safe and leaves nothing that two workers could race on.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol


class AlreadyWrittenError(FileExistsError):
    """The key holds something else already."""


class RunStore(Protocol):
    """What the bridge asks of a store; a key looks like `runs/SLUG/plan.json`."""

    def put(self, key: str, data: bytes) -> None:
        """Writes a new key; the same content again is fine.

        Raises:
            AlreadyWrittenError: the key holds other content.
        """
        ...

    def get(self, key: str) -> bytes | None:
        """Content of a key, None where there is none."""
        ...

    def has(self, key: str) -> bool:
        """Whether the key is there."""
        ...

    def keys(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted."""
        ...

    def delete(self, key: str) -> None:
        """Removes a key, if it is there."""
        ...


def open_store(uri: str, credentials: Mapping[str, Any] | None = None) -> RunStore:
    """The store at `uri`: a folder, or `s3://bucket/prefix`.

    Args:
        credentials: what boto3's client is made with (endpoint_url, aws_access_key_id, …); only for S3.
    """
    if uri.startswith("s3://"):
        bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix.strip("/"), dict(credentials or {}))
    return FolderStore(Path(uri.removeprefix("file://")))


def s3_credentials(env: Mapping[str, str], endpoint: str | None) -> dict[str, str]:
    """What boto3's client is made with, from AWS's variables; what they lack boto3 looks up by itself."""
    given = {
        "aws_access_key_id": env.get("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": env.get("AWS_SECRET_ACCESS_KEY"),
        "region_name": env.get("AWS_DEFAULT_REGION"),
        "endpoint_url": endpoint,
    }
    return {key: value for key, value in given.items() if value}


@dataclass(frozen=True)
class FolderStore:
    """Keys are files under a folder that all workers see."""

    root: Path

    def put(self, key: str, data: bytes) -> None:
        """Writes beside, then links into place, which fails where the name is taken."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(file.name, path)
        except FileExistsError:
            _check_same(key, path.read_bytes(), data)
        finally:
            Path(file.name).unlink()

    def get(self, key: str) -> bytes | None:
        """Content of the file."""
        try:
            return self._path(key).read_bytes()
        except FileNotFoundError:
            return None

    def has(self, key: str) -> bool:
        """Whether there is such a file."""
        return self._path(key).is_file()

    def keys(self, prefix: str) -> list[str]:
        """Files under the folder, hidden (unfinished) ones left out."""
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix) and not Path(key).name.startswith("."))

    def delete(self, key: str) -> None:
        """Removes the file."""
        self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        _check_key(key)
        return self.root / key


@dataclass(frozen=True)
class S3Store:
    """Keys are objects under a prefix of a bucket; a new key is written with `If-None-Match: *`."""

    bucket: str
    prefix: str
    credentials: dict[str, Any] = field(default_factory=dict, repr=False)

    def put(self, key: str, data: bytes) -> None:
        """Writes the object if there is none."""
        from botocore.exceptions import ClientError

        _check_key(key)
        try:
            self._client.put_object(Bucket=self.bucket, Key=self._name(key), Body=data, IfNoneMatch="*")
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in {409, 412}:
                raise
            _check_same(key, self.get(key) or b"", data)

    def get(self, key: str) -> bytes | None:
        """Content of the object."""
        _check_key(key)
        client = self._client
        try:
            body: bytes = client.get_object(Bucket=self.bucket, Key=self._name(key))["Body"].read()
        except client.exceptions.NoSuchKey:
            return None
        return body

    def has(self, key: str) -> bool:
        """Whether there is such an object."""
        from botocore.exceptions import ClientError

        _check_key(key)
        try:
            self._client.head_object(Bucket=self.bucket, Key=self._name(key))
        except ClientError as error:
            if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") != 404:
                raise
            return False
        return True

    def keys(self, prefix: str) -> list[str]:
        """Objects under the prefix."""
        return sorted(self._listed(prefix))

    def delete(self, key: str) -> None:
        """Removes the object."""
        _check_key(key)
        self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def _listed(self, prefix: str) -> Iterator[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self._name(prefix))
        start = len(self._name(""))
        for page in pages:
            yield from (entry["Key"][start:] for entry in page.get("Contents", ()))

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @cached_property
    def _client(self) -> Any:
        import boto3

        return boto3.Session().client("s3", **self.credentials)  # the default session is not for several threads


def _check_key(key: str) -> None:
    """Refuses what is no plain path inside the store, or a name that would not be listed."""
    if any(part == "" or part.startswith(".") for part in key.split("/")) or "\0" in key:
        raise ValueError(f"a key of the run store must be a plain path inside it, got {key!r}")


def _check_same(key: str, held: bytes, data: bytes) -> None:
    if held != data:
        raise AlreadyWrittenError(f"{key}: another attempt wrote something else there; a run's keys are written once")
