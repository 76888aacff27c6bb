import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from plugins.run_store import AlreadyWrittenError, FolderStore, RunStore, S3Store, open_store
from tests.s3 import BUCKET, Server

WRITERS = 8
PLAIN = ("runs/a-1/plan.json", "runs/a-1/fragments/größe ü+&?#%41 x.json", "runs/a-1/~", "x" * 200)
HOSTILE = (
    "",
    "/",
    "/etc/passwd",
    "../out",
    "runs/../../out",
    "runs/..",
    "runs//a",
    "runs/./a",
    "runs/",
    "a/.b",
    "a\0b",
)


class ConditionalHandler(BaseHTTPRequestHandler):
    """As much of S3 as a conditional put needs, for rclone ignores `If-None-Match`.

    It stands in for what a server answers; that a server is atomic is a server's own business.
    """

    protocol_version = "HTTP/1.1"
    objects: dict[str, bytes]
    lock: threading.Lock

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.lock:
            taken = self.headers["If-None-Match"] == "*" and self.path in self.objects
            if not taken:
                self.objects[self.path] = data
        error = b"<Error><Code>PreconditionFailed</Code><Message>taken</Message></Error>"
        self._answer(*((412, error) if taken else (200, b"")))

    def do_GET(self) -> None:
        held = self.objects.get(self.path)
        self._answer(*((404, b"<Error><Code>NoSuchKey</Code></Error>") if held is None else (200, held)))

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def s3_store(port: int, key: str, secret: str, prefix: str) -> RunStore:
    keys = {"aws_access_key_id": key, "aws_secret_access_key": secret, "region_name": "us-east-1"}
    return open_store(f"s3://{BUCKET}/{prefix}", keys | {"endpoint_url": f"http://127.0.0.1:{port}"})


@pytest.fixture(params=["folder", "s3", "s3 without a prefix"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> RunStore:
    """Empty, or holding what other tests left of other names."""
    if request.param == "folder":
        return open_store(str(tmp_path / "store"))
    server: Server = request.getfixturevalue("server")
    store = s3_store(server.port, server.key, server.secret, tmp_path.name if request.param == "s3" else "")
    for key in store.keys(""):
        store.delete(key)
    return store


@pytest.fixture(params=["folder", "s3"])
def once(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    """A store whose keys can be written once."""
    if request.param == "folder":
        yield FolderStore(tmp_path / "store")
        return
    handler = type("Handler", (ConditionalHandler,), {"objects": {}, "lock": threading.Lock()})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield s3_store(server.server_port, "any", "any", "p")
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("key", PLAIN)
def test_what_is_put_can_be_got_listed_and_deleted(store: RunStore, key: str) -> None:
    assert store.get(key) is None
    assert store.keys("") == []
    store.put(key, b"\x00\xff\r\n")
    assert store.get(key) == b"\x00\xff\r\n"
    assert store.keys("") == [key]
    store.delete(key)
    assert store.get(key) is None
    store.delete(key)


def test_the_same_again_is_fine_and_nothing_at_all_is_content_too(store: RunStore) -> None:
    for _ in range(2):
        store.put("runs/a/empty", b"")
    assert store.get("runs/a/empty") == b""


def test_keys_are_sorted_and_begin_with_the_prefix(store: RunStore) -> None:
    for key in ("runs/b/plan.json", "runs/a/scan.json", "runs/ab/plan.json", "runs/a/plan.json", "other"):
        store.put(key, b"1")
    assert store.keys("runs/a/") == ["runs/a/plan.json", "runs/a/scan.json"]
    assert store.keys("runs/a") == ["runs/a/plan.json", "runs/a/scan.json", "runs/ab/plan.json"]
    assert store.keys("nothing") == []
    assert len(store.keys("")) == 5


@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_that_is_no_plain_path_inside_the_store_is_refused(store: RunStore, tmp_path: Path, key: str) -> None:
    calls: list[Callable[[], object]] = [lambda: store.put(key, b"1"), lambda: store.get(key)]
    for call in (*calls, lambda: store.delete(key)):
        with pytest.raises(ValueError, match=r"^a key of the run store must be a plain path inside it, got "):
            call()
    assert not list(tmp_path.rglob("out"))


def test_other_content_under_a_key_is_refused_and_the_first_stays(once: RunStore) -> None:
    once.put("runs/a/plan.json", b"first")
    once.put("runs/a/plan.json", b"first")
    with pytest.raises(AlreadyWrittenError, match=r"^runs/a/plan\.json: another attempt wrote something else there"):
        once.put("runs/a/plan.json", b"second")
    assert once.get("runs/a/plan.json") == b"first"


def race(store: RunStore, contents: list[bytes]) -> list[bool]:
    """All put one key at the same moment; says who was let."""
    start = threading.Barrier(len(contents))

    def put(content: bytes) -> bool:
        start.wait()
        try:
            store.put("runs/a/plan.json", content)
        except AlreadyWrittenError:
            return False
        return True

    with ThreadPoolExecutor(len(contents)) as pool:
        return list(pool.map(put, contents))


def test_of_eight_writers_at_once_exactly_one_wins(once: RunStore) -> None:
    contents = [b"%d" % number * 10_000 for number in range(WRITERS)]
    let = race(once, contents)
    assert sum(let) == 1
    assert once.get("runs/a/plan.json") == contents[let.index(True)]


def test_eight_writers_of_the_same_all_succeed(once: RunStore) -> None:
    assert race(once, [b"same"] * WRITERS) == [True] * WRITERS


def test_what_a_killed_writer_left_is_no_key_and_in_nobody_s_way(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / ".x7f").write_bytes(b"half")
    assert store.keys("") == []
    store.put("runs/a/plan.json", b"1")
    assert store.keys("") == ["runs/a/plan.json"]
    assert sorted(path.name for path in (tmp_path / "runs" / "a").iterdir()) == [".x7f", "plan.json"]


def test_a_wrong_secret_is_told_and_never_taken_for_an_empty_store(server: Server) -> None:
    store = s3_store(server.port, server.key, "guessed", "")
    for call in (lambda: store.get("a"), lambda: store.put("a", b"1"), lambda: store.keys("")):
        with pytest.raises(ClientError, match=r"SignatureDoesNotMatch|Forbidden|AccessDenied|403"):
            call()


def test_a_uri_says_which_store_and_a_secret_is_not_shown(tmp_path: Path) -> None:
    assert open_store(str(tmp_path)) == open_store(f"file://{tmp_path}") == FolderStore(tmp_path)
    assert open_store("s3://bucket/a/b/") == S3Store("bucket", "a/b")
    assert open_store("s3://bucket") == S3Store("bucket", "")
    assert "hush" not in repr(open_store("s3://bucket", {"aws_secret_access_key": "hush"}))
