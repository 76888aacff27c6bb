"""Starts a run when images arrive: a trigger that lists S3 prefixes in Airflow's triggerer and holds no worker's slot.

`COUNTERWEIGHT_WATCH` names the prefixes, `COUNTERWEIGHT_WATCH_INTERVAL` the seconds between two looks.
"""

import asyncio
import hashlib
import json
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from airflow.sdk import Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable
from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from plugins.airflow_settings import CONNECTIONS, aws_keys
from plugins.run_store import open_store, s3_credentials

SOURCE = "counterweight://source"
PREFIX = re.compile(r"s3://([^/]+)(?:/(.*))?")
INTERVAL_S = 60.0
# A server that does not answer must not hold up the triggerer when that is told to stop.
PATIENCE = {"connect_timeout": 10, "read_timeout": 30, "retries": {"mode": "standard", "max_attempts": 2}}


@dataclass(frozen=True)
class Listing:
    """What lies under a prefix.

    Attributes:
        digest: of each object's key, size and etag.
    """

    uri: str
    objects: int
    bytes: int
    digest: str

    @property
    def key(self) -> str:
        """Where the run store keeps that a run was started for it."""
        return f"watch/{self.digest}.json"


class PrefixWatch:
    """Looks at one prefix again and again, and says when a run is to be started for what lies there.

    That is once for each content, and only when it has stayed the same from one look to the next: an upload is over.
    It is noted in the run store, so that a triggerer that was restarted does not begin anew; at the look after, when
    Airflow has the event for sure: dying in between rather ends in a second run, which finds nothing new, than in none.
    """

    def __init__(self, uri: str, runs: str, endpoint: str | None) -> None:
        self._uri, self._runs, self._endpoint = uri, runs, endpoint
        self._before: Listing | None = None
        self._fired: Listing | None = None
        self._known = ""

    def look(self, keys: Mapping[str, str]) -> Listing | None:
        """Lists the prefix once; returns what to start a run for, None if for nothing.

        Args:
            keys: of the object store, under AWS's own names.
        """
        credentials = s3_credentials(keys, self._endpoint)
        store = open_store(self._runs, credentials)
        if self._fired is not None:
            store.put(self._fired.key, json.dumps(asdict(self._fired)).encode())
            self._fired = None
        now = list_prefix(self._uri, credentials)
        has_settled, self._before = now == self._before, now
        if not has_settled or not now.objects or now.digest == self._known:
            return None
        if store.has(now.key):
            self._known = now.digest
            return None
        self._fired = now
        return now


class PrefixTrigger(BaseEventTrigger):
    """Fires for each new content of a prefix.

    Args:
        uri: `s3://bucket/prefix`.
        runs: URI of the run store.
        interval: seconds between two looks.
        endpoint: URL of an S3 server other than AWS's.
        aws_conn_id: connection with the keys; asked for at each look, never stored with the trigger.
    """

    def __init__(self, uri: str, runs: str, interval: float, endpoint: str | None, aws_conn_id: str | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.uri, self.runs, self.interval = uri, runs, interval
        self.endpoint, self.aws_conn_id = endpoint, aws_conn_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class's path and its arguments, as Airflow stores them."""
        names = ("uri", "runs", "interval", "endpoint", "aws_conn_id")
        return f"{__name__}.{type(self).__name__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Looks for ever; what goes wrong is told in one line, for a trigger that ends is begun anew at once."""
        watch = PrefixWatch(self.uri, self.runs, self.endpoint)
        while True:
            try:
                keys = await sync_to_async(aws_keys)(self.aws_conn_id)
                found = await asyncio.to_thread(watch.look, keys)
            except Exception as error:  # noqa: BLE001 (whatever it is, the next look may go well)
                why = f"{type(error).__name__}: {' '.join(str(error).split())}"
                self.log.warning("watch: %s: %s; next look in %g s", self.uri, why, self.interval)
            else:
                if found is not None:
                    self.log.info("watch: %s: %d objects, %d bytes: a run", self.uri, found.objects, found.bytes)
                    yield TriggerEvent(asdict(found))  # type: ignore[no-untyped-call]
            await asyncio.sleep(self.interval)


def schedule(nightly: CronTriggerTimetable) -> CronTriggerTimetable | AssetOrTimeSchedule:
    """The nightly schedule, and beside it the arrival of images where COUNTERWEIGHT_WATCH names prefixes to watch.

    Raises:
        ValueError: a variable is wrong or missing.
    """
    uris = os.environ.get("COUNTERWEIGHT_WATCH", "").split()
    if not uris:
        return nightly
    runs = os.environ.get("COUNTERWEIGHT_RUNS", "")
    if not runs:
        raise ValueError("COUNTERWEIGHT_WATCH needs COUNTERWEIGHT_RUNS, where it remembers what it has seen")
    settings: dict[str, Any] = {
        "runs": runs,
        "interval": _interval(os.environ.get("COUNTERWEIGHT_WATCH_INTERVAL") or str(INTERVAL_S)),
        "endpoint": os.environ.get("COUNTERWEIGHT_S3_ENDPOINT") or None,
        "aws_conn_id": CONNECTIONS["aws_conn_id"],
    }
    for uri in uris:
        _check(uri)
    watchers = [AssetWatcher(name=uri, trigger=PrefixTrigger(uri=uri, **settings)) for uri in uris]
    return AssetOrTimeSchedule(timetable=nightly, assets=[Asset(SOURCE, watchers=watchers)])


def list_prefix(uri: str, credentials: Mapping[str, Any]) -> Listing:
    """What lies under `uri` as under a folder: `s3://b/cat` is not `s3://b/catalogue`."""
    import boto3
    from botocore.config import Config

    bucket, prefix = _split(uri)
    with closing(boto3.Session().client("s3", config=Config(**PATIENCE), **credentials)) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        entries = [entry for page in pages for entry in page.get("Contents", ())]
    found = [(entry["Key"], entry["Size"], entry.get("ETag")) for entry in entries]
    digest = hashlib.sha256(json.dumps([uri, *sorted(found)]).encode()).hexdigest()
    return Listing(uri, len(found), sum(size for _, size, _ in found), digest)


def _split(uri: str) -> tuple[str, str]:
    """Bucket and prefix, the latter with a slash at its end unless it is empty."""
    match = PREFIX.fullmatch(uri)
    if match is None:
        raise ValueError(f"COUNTERWEIGHT_WATCH must name prefixes as s3://bucket/prefix, got {uri!r}")
    prefix = (match[2] or "").strip("/")
    return match[1], f"{prefix}/" if prefix else ""


def _check(uri: str) -> None:
    """Refuses a prefix that the runs themselves write to."""
    bucket, prefix = _split(uri)
    for name in ("COUNTERWEIGHT_REMOTE", "COUNTERWEIGHT_RUNS"):
        given = os.environ.get(name, "")
        if f"{given.rstrip('/')}/".startswith(f"s3://{bucket}/{prefix}"):
            raise ValueError(f"COUNTERWEIGHT_WATCH: {uri} holds {name} ({given}): every run would start another")


def _interval(given: str) -> float:
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0
    if not 1 <= seconds < float("inf"):
        raise ValueError(f"COUNTERWEIGHT_WATCH_INTERVAL must be a number of seconds, at least 1, got {given!r}")
    return seconds
