"""Images in a bucket of a real S3 server."""

from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError

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
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the objects that were fetched, in the order of the listing."""
    numbers: list[int] = []
    fetch = s3._Reader._fetch

    def noting(self: Any, number: int) -> bytes:
        numbers.append(number)
        return fetch(self, number)

    monkeypatch.setattr(s3._Reader, "_fetch", noting)
    return numbers


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


def test_a_scan_reads_no_image_and_appends_what_is_new(upload: Any, tmp_path: Path, fetched: list[int]) -> None:
    source = upload({"cat": 3, "dog": 2})
    lock = scan(source, tmp_path / "lock")
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


def test_only_what_is_asked_for_is_fetched_and_a_few_ahead_where_it_goes_in_order(
    upload: Any, fetched: list[int]
) -> None:
    read = [file.read for file in sources.files(upload({"cat": 60, "dog": 60}))]
    assert fetched == []
    for number in (50, 7, 90, 7):
        read[number]()
    assert fetched == [50, 7, 90, 7]
    fetched.clear()
    for number in range(20, 40):
        read[number]()
    reader = read[39].func.__self__
    for _ in range(2):
        assert set(reader._coming) == set(range(40, 39 + s3.AHEAD))
        wait(reader._coming.values())
        assert sorted(set(fetched)) == list(range(20, 39 + s3.AHEAD))
        read[39]()  # once more, as for an image that is set aside
    read[100]()
    assert reader._coming == {}


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


def test_a_server_that_is_away_is_no_mistake_of_the_user_s(
    upload: Any, server_in_env: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = upload({"cat": 1, "dog": 1})
    monkeypatch.setitem(s3._PATIENCE, "retries", {"mode": "standard", "max_attempts": 1})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(EndpointConnectionError):
        found(source)
