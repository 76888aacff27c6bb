"""What of a DVC remote is in no use, and its removal: `python -m plugins.sweep look|remove REQUEST RESULT`.

DVC says what a commit uses and where the remote keeps it; what is in use is then worked out here, since `dvc gc` has no
minimum age, takes the word of a damaged listing, and lists the remote once more when it deletes, so that it can take
away what was pushed meanwhile. It runs in a process of its own: a DAG file must not import DVC.
"""

import hashlib
import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from dvc.exceptions import DvcException, NotDvcRepoError  # type: ignore[import-untyped]
from dvc.repo import Repo  # type: ignore[import-untyped]
from dvc_data.hashfile.db import HashFileDB

from plugins import lock as locks

BATCH = 1000  # what S3 deletes at once
THREADS = 16
CHECKSUM = re.compile(r"[0-9a-f]{32}(\.dir)?")  # else it is no object of DVC's


@dataclass(frozen=True)
class Stored:
    """An object of the remote: its path there, its size in bytes, and when it came, in seconds since the epoch."""

    path: str
    size: int
    came: float


@dataclass
class Found:
    """What a look at the remote has found.

    Attributes:
        unused: checksums and sizes of what may go. Listings come first: DVC takes a listing's word for its files, so
            none may outlive one of them where the removal is killed.
        used: how many objects are in use.
        spared: how many are in no use but too young to go.
        lost: how many objects the remote lacks, by the run that names them.
        elsewhere: branches and tags of whose data nothing is in this remote.
    """

    unused: list[tuple[str, int]] = field(default_factory=list)
    used: int = 0
    spared: int = 0
    lost: dict[str, int] = field(default_factory=dict)
    elsewhere: list[str] = field(default_factory=list)


class Remote:
    """A DVC remote and all that it holds."""

    def __init__(self, odb: HashFileDB, url: str) -> None:
        self._odb, self._url = odb, url
        self._files: dict[str, set[str]] = {}
        self.stored = dict(self._list())

    def _list(self) -> Iterator[tuple[str, Stored]]:
        fs = self._odb.fs.fs
        found = fs.find(self._odb.path, detail=True)
        entries = found.items() if isinstance(found, Mapping) else ((path, fs.info(path)) for path in found)
        for path, info in entries:
            checksum = "".join(Path(path).parts[-2:])
            if CHECKSUM.fullmatch(checksum):
                yield checksum, Stored(path, int(info["size"]), _came(info))

    def with_files(self, checksums: Iterable[str], name: str) -> set[str]:
        """The checksums and, of each folder whose listing is there, those of its files.

        Raises:
            ValueError: a listing is damaged.
        """
        names = set(checksums)
        listings = [checksum for checksum in names if checksum.endswith(".dir") and checksum in self.stored]
        with ThreadPoolExecutor(THREADS) as pool:
            return names.union(*pool.map(lambda listing: self._files_of(listing, name), listings))

    def _files_of(self, listing: str, name: str) -> set[str]:
        if listing not in self._files:
            with self._odb.fs.open(self.stored[listing].path, "rb") as file:
                data = file.read()
            if f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}.dir" != listing:
                raise ValueError(f"{name}: its listing {listing} in {self._url} is damaged, so its files are unknown")
            self._files[listing] = {str(entry["md5"]) for entry in json.loads(data)}
        return self._files[listing]


def look(request: Mapping[str, Any]) -> Found:
    """Finds what nothing kept uses and what came before `request["before"]`, in seconds since the epoch.

    Raises:
        ValueError: it is not certain what something kept uses.
    """
    url = request["config"]["remote"]["run"]["url"]
    remote, found, used = Remote(_odb(request), url), Found(), set[str]()
    for kept in request["kept"]:
        name, needed, named = kept["name"], set(kept["needed"]), set(kept["named"])
        if kept["commit"]:
            pulled, locked = _of_commit(kept["commit"], name, request)
            needed, named = needed | pulled, named | locked
        missing = needed - remote.stored.keys()
        if kept["commit"] and needed and missing == needed:
            if kept["whole"]:
                raise ValueError(f"nothing of {name} is in {url}: do this remote and the git remote belong together?")
            found.elsewhere.append(name)
        elif listing := min((checksum for checksum in missing if checksum.endswith(".dir")), default=None):
            raise ValueError(f"{name}: its listing {listing} is not in the remote, so its files are unknown")
        else:
            needed = remote.with_files(needed, name)
            if lost := len(needed - remote.stored.keys()):
                found.lost[name] = lost
        used |= needed | remote.with_files(named, name)
    _divide(remote, used, float(request["before"]), found)
    return found


def _divide(remote: Remote, used: set[str], before: float, found: Found) -> None:
    """Divides what is stored into used, young and unused; what a young listing names is spared however old it is."""
    unused = remote.stored.keys() - used
    found.used = len(remote.stored) - len(unused)
    young = {checksum for checksum in unused if remote.stored[checksum].came > before}
    young = remote.with_files(young, "an upload of late") & unused
    found.spared = len(young)
    going = sorted(unused - young, key=lambda checksum: (not checksum.endswith(".dir"), checksum))
    found.unused = [(checksum, remote.stored[checksum].size) for checksum in going]


def _of_commit(commit: str, name: str, request: Mapping[str, Any]) -> tuple[set[str], set[str]]:
    """What DVC would pull at a commit, and what its dvc.lock names beside that.

    Raises:
        ValueError: DVC cannot read the commit.
    """
    try:
        with _repo(commit, request) as repo:
            outs = [out for out in repo.index.outs if out.use_cache and out.can_push and not out.stage.is_repo_import]
            pulled = {str(out.hash_info.value) for out in outs if out.hash_info and out.hash_name == "md5"}
            path = repo.fs.join(repo.root_dir, "dvc.lock")
            lock = locks.parse(repo.fs.open(path, "r").read() if repo.fs.exists(path) else "")
    except NotDvcRepoError:  # from before the project had DVC
        return set(), set()
    except DvcException as error:
        raise ValueError(f"{name}: DVC cannot read commit {commit[:12]}: {' '.join(str(error).split())}") from error
    return pulled, {locks.Hash.of(out).value for entry in lock.values() for out in entry.get("outs", ())}


def _odb(request: Mapping[str, Any]) -> HashFileDB:
    commit = next(kept["commit"] for kept in request["kept"] if kept["commit"])
    with _repo(commit, request) as repo:
        odb: HashFileDB = repo.cloud.get_remote_odb("run")
    return odb


def _repo(commit: str, request: Mapping[str, Any]) -> Any:
    return Repo(request["mirror"], rev=commit, config=request["config"])


def _came(info: Mapping[str, Any]) -> float:
    """When an object came to the remote, in seconds since the epoch: a file may bear an older time of change."""
    if "LastModified" in info:
        changed: datetime = info["LastModified"]
        return changed.timestamp()
    return max(float(info["mtime"]), float(info["created"]))


def remove(request: Mapping[str, Any]) -> dict[str, int]:
    """Removes the objects in `request["objects"]`, in their order, until `request["deadline"]`.

    Raises:
        ValueError: there was not enough time.
        BrokenPipeError: the task that asked for it, and so holds the lease, was killed.
    """
    odb, objects = _odb(request), list(request["objects"])
    for start in range(0, len(objects), BATCH):
        if time.time() > float(request["deadline"]):
            raise ValueError(f"the time is up after {start} of {len(objects)} objects; the next retention goes on")
        # Where the task was killed, and so nobody reads this, it ends here.
        print(f"retention: {start} of {len(objects)} objects are removed", flush=True)
        odb.fs.remove([odb.oid_to_path(checksum) for checksum in objects[start : start + BATCH]])
    return {"removed": len(objects)}


def main(action: str, request: str, result: str) -> int:
    """Does what the request says; returns the exit status, 2 with one line for what a person must see to."""
    given = json.loads(Path(request).read_text(encoding="utf-8"))
    try:
        done = asdict(look(given)) if action == "look" else remove(given)
    except ValueError as error:
        print(f"error: retention: {error}", flush=True)
        return 2
    Path(result).write_text(json.dumps(done), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
