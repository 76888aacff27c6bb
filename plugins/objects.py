"""The DVC remote, looked at without DVC: whether an out is there whole, and a file of it.

DVC starts for one to two seconds, and of a folder it takes the listing's word for what the listing names.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from plugins.run_store import RunStore

THREADS = 16


def first_missing(remote: RunStore, outs: Iterable[Mapping[str, Any]]) -> str | None:
    """Path of the first object that the outs of a lock entry name and the remote lacks; None if all are there."""
    with ThreadPoolExecutor(THREADS) as pool:
        for out in outs:
            files = list(_files(remote, str(out["path"]), str(out["md5"])))
            there = pool.map(lambda file: file[1] is not None and remote.has(object_key(file[1])), files)
            for (path, _), found in zip(files, there, strict=True):
                if not found:
                    return path
    return None


def read_file(remote: RunStore, md5: str, path: str = "") -> bytes | None:
    """Content of an out that is a file, or of the file at `path` in one that is a folder; None where there is none."""
    found = dict(_files(remote, "", md5)).get(f"/{path}" if path else "")
    return remote.get(object_key(found)) if found else None


def object_key(md5: str) -> str:
    """Where a DVC remote keeps an object."""
    return f"files/md5/{md5[:2]}/{md5[2:]}"


def _files(remote: RunStore, path: str, md5: str) -> Iterator[tuple[str, str | None]]:
    """Path and checksum of each file of an out; no checksum for a folder whose listing is nowhere."""
    if not md5.endswith(".dir"):
        yield path, md5
        return
    listing = remote.get(object_key(md5))
    if listing is None:
        yield path, None
        return
    for entry in json.loads(listing):
        yield f"{path}/{entry['relpath']}", entry["md5"]
