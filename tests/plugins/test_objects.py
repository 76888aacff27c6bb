import json
from pathlib import Path

import pytest

from plugins.objects import first_missing, object_key, read_file
from plugins.run_store import FolderStore

LISTING = "ab" + "0" * 30 + ".dir"
FILES = {"a.parquet": "1" * 32, "deep/b.html": "2" * 32}
OUTS = [{"path": "results/one.json", "md5": "3" * 32}, {"path": "data/many", "md5": LISTING}]


@pytest.fixture
def remote(tmp_path: Path) -> FolderStore:
    """A folder remote as DVC lays it out, with one file and one folder of two."""
    store = FolderStore(tmp_path)
    for md5 in ("3" * 32, *FILES.values()):
        store.put(object_key(md5), f"content of {md5[0]}".encode())
    store.put(object_key(LISTING), json.dumps([{"md5": md5, "relpath": path} for path, md5 in FILES.items()]).encode())
    return store


def test_objects_lie_where_dvc_puts_them() -> None:
    assert object_key(LISTING) == f"files/md5/ab/{'0' * 30}.dir"


def test_nothing_is_missing_of_what_is_whole(remote: FolderStore) -> None:
    assert first_missing(remote, OUTS) is None


@pytest.mark.parametrize(
    ("lost", "told"),
    [("3" * 32, "results/one.json"), (LISTING, "data/many"), ("2" * 32, "data/many/deep/b.html")],
)
def test_a_lost_object_is_named_by_its_path(remote: FolderStore, lost: str, told: str) -> None:
    remote.delete(object_key(lost))
    assert first_missing(remote, OUTS) == told


def test_a_file_of_a_folder_is_read_by_its_path(remote: FolderStore) -> None:
    assert read_file(remote, LISTING, "deep/b.html") == b"content of 2"
    assert read_file(remote, "3" * 32) == b"content of 3"
    assert read_file(remote, LISTING, "b.html") is None
    assert read_file(remote, LISTING) is None
    assert read_file(remote, "f" * 32) is None
    remote.delete(object_key(FILES["deep/b.html"]))
    assert read_file(remote, LISTING, "deep/b.html") is None
