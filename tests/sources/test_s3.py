"""Images in a bucket of a real S3 server."""

import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from pipeline import source_lock, sources
from pipeline.errors import UserError
from pipeline.sources import s3
from tests.builders import build, digests, image_folder, scan
from tests.s3 import Server, server, server_in_env

__all__ = ["server", "server_in_env"]  # fixtures


@pytest.fixture
def bucket(server_in_env: Server) -> str:
    return server_in_env.new_bucket()


@pytest.fixture
def upload(server_in_env: Server, bucket: str, tmp_path: Path) -> Callable[..., str]:
    """Puts images under a prefix; returns the source."""

    def upload(counts: dict[str, int], prefix: str = "in/", start: int = 0) -> str:
        folder = tmp_path / f"upload-{prefix.strip('/')}-{start}"
        server_in_env.upload(image_folder(folder, counts, start=start), bucket, prefix)
        return f"s3://{bucket}/{prefix}".rstrip("/")

    return upload


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the objects that were fetched."""
    keys: list[str] = []
    fetch = s3._Reader._fetch

    def noting(self: Any, key: str, etag: str | None) -> bytes:
        keys.append(key)
        return fetch(self, key, etag)

    monkeypatch.setattr(s3._Reader, "_fetch", noting)
    return keys


def found(source: str) -> list[tuple[str, str, str | None]]:
    return [(file.name, file.label, file.split) for file in sources.files(source)]


# ------------------------------------------------------------ what is found


def test_classes_splits_and_what_is_no_image(upload: Any, server_in_env: Server, bucket: str) -> None:
    source = upload({"train/größe M": 1, "train/dog": 1, "test/dog": 1})
    for key in ("in/notes.txt", "in/train/.thumbs/a.png", "in/logo.svg", "inside/cat/1.png"):
        server_in_env.client().put_object(Bucket=bucket, Key=key, Body=b"1")
    expected = [
        ("test/dog/000.png", "dog", "test"),
        ("train/dog/000.png", "dog", "train"),
        ("train/größe M/000.png", "größe M", "train"),
    ]
    assert found(source) == found(f"{source}/") == expected


def test_an_export_with_made_images_is_refused(upload: Any, server_in_env: Server, bucket: str) -> None:
    source, client = upload({"cat": 2, "dog": 2}), server_in_env.client()
    table = "in/train/metadata.csv"
    client.put_object(Bucket=bucket, Key=table, Body=b"file_name,label,origin\ncat/000.png,cat,real\n")
    assert len(found(source)) == 4
    client.put_object(Bucket=bucket, Key=table, Body=b"file_name,label,origin\ncat/000.png,cat,synthetic\n")
    with pytest.raises(UserError, match=r"train/metadata.csv: row 2 is an image of origin 'synthetic'"):
        found(source)


def test_more_than_one_page_of_a_listing(upload: Any, server_in_env: Server, bucket: str) -> None:
    source, client = upload({"cat": 1, "dog": 1}), server_in_env.client()
    for number in range(1000):
        client.put_object(Bucket=bucket, Key=f"in/cat/{number + 1:04d}.png", Body=b"1")
    assert len(found(source)) == 1002


def test_the_address_may_come_from_our_own_variable(
    upload: Any, server_in_env: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = upload({"cat": 1, "dog": 1})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    monkeypatch.setenv("COUNTERWEIGHT_S3_ENDPOINT", server_in_env.endpoint)
    assert len(found(source)) == 2


# ------------------------------------------------------------ what is read


def test_a_bucket_gives_the_same_data_set_as_the_folder_that_it_was_made_from(upload: Any, tmp_path: Path) -> None:
    source = upload({"cat": 12, "dog": 5})
    one, other = build(source, tmp_path / "s3"), build(tmp_path / "upload-in-0", tmp_path / "folder")
    for split in one.SPLITS:
        assert digests(one.root / split) == digests(other.root / split)
    assert one.counts("train") == other.counts("train")


def test_a_scan_reads_no_image_and_appends_what_is_new(upload: Any, tmp_path: Path, fetched: list[str]) -> None:
    source = upload({"cat": 3, "dog": 2})
    lock = scan(source, tmp_path / "lock")
    (batch,) = source_lock.read(lock)["ingest"].batches
    assert batch.bytes == sum(path.stat().st_size for path in (tmp_path / "upload-in-0").rglob("*.png"))
    first = lock.read_bytes()
    assert scan(source, tmp_path / "lock").read_bytes() == first
    upload({"cat": 2}, start=100)
    scan(source, tmp_path / "lock")
    assert [batch.files for batch in source_lock.read(lock)["ingest"].batches] == [5, 2]
    assert fetched == []


def test_a_changed_object_is_told(upload: Any, tmp_path: Path, server_in_env: Server, bucket: str) -> None:
    source = upload({"cat": 3, "dog": 2})
    scan(source, tmp_path / "lock")
    old = (tmp_path / "upload-in-0" / "cat" / "001.png").read_bytes()
    client = server_in_env.client()
    client.put_object(Bucket=bucket, Key="in/cat/001.png", Body=old[:-1] + bytes([old[-1] ^ 1]))  # of the same size
    with pytest.raises(UserError, match=r"1 pinned files changed \(first: cat/001\.png\) and 0 are gone"):
        scan(source, tmp_path / "lock")


def test_only_the_new_batch_is_fetched_each_object_once_and_a_few_before_they_are_asked_for(
    upload: Any, fetched: list[str], tmp_path: Path
) -> None:
    source = upload({"cat": 40, "dog": 40})
    scan(source, tmp_path / "lock")
    upload({"cat": 30, "dog": 30}, start=100)  # among the old ones in the order of the listing
    pin = source_lock.read(scan(source, tmp_path / "lock"))["ingest"]
    new = [f"in/{label}/{number}.png" for label in ("cat", "dog") for number in range(100, 130)]
    assert fetched == []
    reads = source_lock.pinned(pin, {1}, sources.files(source))
    for done, (number, file, data) in enumerate(reads, 1):
        assert (number, f"in/{file.name}") == (1, new[done - 1])
        assert data == (tmp_path / "upload-in-100" / file.name).read_bytes()
        reader = file.read.func.__self__  # type: ignore[attr-defined]
        assert list(reader._coming) == new[done : done + sources.AHEAD]
    assert sorted(fetched) == new


def test_order_does_not_change_what_is_read(upload: Any, tmp_path: Path) -> None:
    files = list(sources.files(upload({"cat": 25, "dog": 25})))
    expected = [(tmp_path / "upload-in-0" / file.name).read_bytes() for file in files]
    assert [file.read() for file in files] == expected
    for numbers in (range(49, -1, -1), (3, 4, 5, 5, 6, 4, 5, 6, 49), range(0, 50, 3)):
        assert [files[number].read() for number in numbers] == [expected[number] for number in numbers]


# ------------------------------------------------------------ what is refused


def read_first(source: str) -> bytes:
    return next(iter(sources.files(source))).read()


def test_no_bucket_no_prefix_no_class(upload: Any, bucket: str, server_in_env: Server) -> None:
    upload({"cat": 1, "dog": 1})
    server_in_env.client().put_object(Bucket=bucket, Key="flat/1.png", Body=b"1")
    for source, told in {
        "s3://no-such-bucket/in": f"there is no bucket 'no-such-bucket' at {server_in_env.endpoint}$",
        f"s3://{bucket}/nothing/": f"holds no class folder; expected s3://{bucket}/nothing/CLASS/IMAGE, or s3://",
        f"s3://{bucket}/flat": "holds no class folder; expected ",
        f"s3://{bucket}/in/cat": "holds no class folder; expected ",
        "s3://": r"source 's3://' names no bucket; expected s3://bucket/prefix$",
        "s3:///in": r"source 's3:///in' names no bucket; expected s3://bucket/prefix$",
        "s3://Not_a Bucket/in": "names no bucket",
        "s3://b@d/in": "'b@d' cannot be a bucket's name; expected s3://bucket/prefix$",
    }.items():
        with pytest.raises(UserError, match=told) as caught:
            found(source)
        assert "\n" not in str(caught.value)


def test_a_wrong_key_and_none(upload: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = upload({"cat": 1, "dog": 1})
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "guessed")
    with pytest.raises(UserError, match=r"in: access is refused \(SignatureDoesNotMatch\); check AWS_ACCESS_KEY_ID"):
        found(source)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(UserError, match="in: there is no key to open it with; set AWS_ACCESS_KEY_ID and AWS_SECRET"):
        found(source)


def test_an_address_that_is_none(upload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    source = upload({"cat": 1, "dog": 1})
    monkeypatch.setenv("COUNTERWEIGHT_S3_ENDPOINT", "storage")
    with pytest.raises(UserError, match=r"COUNTERWEIGHT_S3_ENDPOINT must be a URL such as .*, got 'storage'$"):
        found(source)


def test_a_folder_without_a_name() -> None:
    with pytest.raises(UserError, match=r"'cat//1\.png' lies in a folder without a name; rename the object"):
        list(s3._laid_out("s3://b/in", ["cat//1.png", "dog/1.png"]))


def test_an_object_that_is_gone_is_no_damaged_image(upload: Any, server_in_env: Server, bucket: str) -> None:
    first, *others = sources.files(upload({"cat": 1, "dog": 1}))
    server_in_env.client().delete_object(Bucket=bucket, Key="in/cat/000.png")
    with pytest.raises(UserError, match=r"in/cat/000\.png was changed or deleted while it was read; run it again$"):
        source_lock.read_bytes(first)
    assert source_lock.read_bytes(others[0])


def test_a_server_that_is_away_is_one_line(upload: Any, server_in_env: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    source = upload({"cat": 1, "dog": 1})
    file = next(iter(sources.files(source)))
    monkeypatch.setitem(s3._PATIENCE, "retries", {"mode": "standard", "max_attempts": 1})
    for address, why in {
        "http://127.0.0.1:1": "Could not connect to the endpoint URL",
        "https" + server_in_env.endpoint.removeprefix("http"): "SSL validation failed",
    }.items():
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        with pytest.raises(UserError) as caught:
            found(source)
        told = str(caught.value)
        assert told.startswith(f"{source}: cannot be read from {address} ({why}")
        assert told.endswith("); run it again, or correct COUNTERWEIGHT_S3_ENDPOINT or AWS_ENDPOINT_URL")
        assert "\n" not in told
    assert file.read(), "a client keeps the address it was made with"


class Answering(BaseHTTPRequestHandler):
    """A server that is no S3 server, or not well."""

    status, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answering(server_in_env: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, bytes], str]]:
    """Lets a server answer everything with one status and body; returns its address."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        monkeypatch.setitem(s3._PATIENCE, "retries", {"mode": "standard", "max_attempts": 1})

        def answer(status: int, body: bytes) -> str:
            monkeypatch.setattr(Answering, "status", status)
            monkeypatch.setattr(Answering, "body", body)
            return address

        yield answer
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (
            200,
            b"<html>a web page",
            r"{} answers 500 \(Internal Server Error\); run it again, or correct COUNTERWEIGHT_S3_ENDPOINT",
        ),
        (
            503,
            b"<Error><Code>SlowDown</Code><Message>Reduce\nyour rate</Message></Error>",
            r"{} answers SlowDown \(Reduce your rate\); run it again, or correct COUNTERWEIGHT_S3_ENDPOINT or AWS_END",
        ),
        (400, b"", r"{} answers 400 \(Bad Request\); run it again, or correct"),
        (
            403,
            b"<Error><Code>AccessDenied</Code></Error>",
            r"access is refused \(AccessDenied\); check AWS_ACCESS_KEY_ID",
        ),
    ],
)
def test_what_else_a_server_answers_is_one_line(
    answering: Callable[[int, bytes], str], status: int, body: bytes, told: str
) -> None:
    address = answering(status, body)
    with pytest.raises(UserError, match="^s3://b/in: " + told.format(re.escape(address))) as caught:
        found("s3://b/in")
    assert "\n" not in str(caught.value)
    assert caught.value.status == (75 if status in (200, 503) else 2), "only what may pass is worth a second try"


def test_an_object_that_breaks_off_is_asked_for_again_but_not_for_ever(
    upload: Any, server_in_env: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(iter(sources.files(upload({"cat": 1, "dog": 1}))))
    read, left = StreamingBody.read, [2]

    def breaking_off(self: StreamingBody, amt: int | None = None) -> bytes:
        left[0] -= 1
        if left[0] >= 0:
            raise IncompleteReadError(actual_bytes=1, expected_bytes=2)
        return bytes(read(self, amt))

    monkeypatch.setattr(StreamingBody, "read", breaking_off)
    assert first.read().startswith(b"\x89PNG")
    left[0] = 3
    with pytest.raises(UserError, match=r"cannot be read from .* \(1 read, but total bytes expected is 2\.?\)"):
        first.read()
