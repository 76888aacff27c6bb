"""When images that arrive under a prefix start a run, and how that is set up, against a real S3 server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import AssetOrTimeSchedule, CronTriggerTimetable
from airflow.serialization.decoders import decode_timetable
from airflow.serialization.encoders import encode_timetable
from botocore.exceptions import ClientError

from plugins import watch
from plugins.run_store import FolderStore
from plugins.watch import Listing, PrefixWatch, list_prefix
from tests.s3 import REGION, Server

NIGHTLY = CronTriggerTimetable("0 2 * * *", timezone="UTC")


def keys_of(server: Server) -> dict[str, str]:
    names = {"AWS_ACCESS_KEY_ID": server.key, "AWS_SECRET_ACCESS_KEY": server.secret}
    return names | {"AWS_DEFAULT_REGION": REGION}


@pytest.fixture
def look(server: Server, bucket: str, tmp_path: Path) -> Callable[..., Listing | None]:
    """One look of a triggerer that has been running since the last one, or was just `started`."""
    watches: list[PrefixWatch] = []

    def look(*, started: bool = False) -> Listing | None:
        if started or not watches:
            watches.append(PrefixWatch(f"s3://{bucket}/in", str(tmp_path / "runs"), server.endpoint))
        return watches[-1].look(keys_of(server))

    return look


# ------------------------------------------------------------ when a run is started


def test_what_has_settled_starts_one_run_and_then_nothing_does_until_something_comes(put: Any, look: Any) -> None:
    put("in/cat/1.png", b"123")
    put("in/dog/1.png", b"4567")
    assert look() is None  # seen for the first time: it may still be growing
    found = look()
    assert (found.objects, found.bytes) == (2, 7)
    assert [look() for _ in range(3)] == [None] * 3
    put("in/cat/2.png")
    assert look() is None
    assert look().objects == 3
    assert look() is None


def test_an_upload_that_goes_on_starts_no_run_before_it_is_over(put: Any, look: Any) -> None:
    for number in range(4):
        put(f"in/cat/{number}.png")
        assert look() is None
    assert look().objects == 4


def test_another_content_under_the_same_name_is_a_change_and_another_name_too(
    put: Any, look: Any, server: Server, bucket: str
) -> None:
    put("in/cat/1.png", b"old")
    digests = []
    for change in (
        lambda: None,
        lambda: put("in/cat/1.png", b"new"),
        lambda: server.client().delete_object(Bucket=bucket, Key="in/cat/1.png") and put("in/cat/2.png", b"new"),
    ):
        change()
        assert look() is None
        digests.append(look().digest)
    assert len(set(digests)) == 3


def test_an_empty_prefix_and_its_neighbours_start_nothing(put: Any, look: Any) -> None:
    for key in ("other.png", "inside/cat/1.png", "in.png"):
        put(key)
    assert [look() for _ in range(3)] == [None] * 3


def test_a_triggerer_that_is_restarted_does_not_begin_anew(put: Any, look: Any, tmp_path: Path) -> None:
    put("in/cat/1.png")
    look()
    found = look()
    assert FolderStore(tmp_path / "runs").keys("") == []  # not before Airflow has the event for sure
    assert look() is None
    assert FolderStore(tmp_path / "runs").keys("") == [found.key]
    FolderStore(tmp_path / "runs").delete(found.key)
    assert look() is None  # one that goes on need not ask
    FolderStore(tmp_path / "runs").put(found.key, b"1")
    assert [look(started=True), look(), look()] == [None] * 3
    put("in/cat/2.png")
    assert [look(), look().objects] == [None, 2]


def test_one_that_died_before_airflow_had_the_event_starts_the_run_again(put: Any, look: Any) -> None:
    put("in/cat/1.png")
    look()
    found = look()
    assert [look(started=True), look()] == [None, found]


def test_while_the_run_store_cannot_be_written_it_goes_on_trying_and_starts_no_second_run(
    put: Any, look: Any, tmp_path: Path
) -> None:
    put("in/cat/1.png")
    look()
    assert look() is not None
    (tmp_path / "runs").write_text("in the way")
    for _ in range(2):
        with pytest.raises(OSError, match="runs"):
            look()
    (tmp_path / "runs").unlink()
    assert [look(), look()] == [None, None]
    assert len(FolderStore(tmp_path / "runs").keys("watch/")) == 1


def test_a_listing_of_several_pages_is_read_whole_and_does_not_depend_on_when(
    put: Any, server: Server, bucket: str
) -> None:
    for number in range(1005):  # a page has 1,000
        put(f"in/cat/{number}.png")
    found = list_prefix(f"s3://{bucket}/in", server.credentials)
    assert (found.objects, found.bytes) == (1005, 1005)
    put("in/cat/7.png")  # the same again
    assert list_prefix(f"s3://{bucket}/in/", server.credentials).objects == 1005
    assert list_prefix(f"s3://{bucket}/in", server.credentials) == found
    assert list_prefix(f"s3://{bucket}", server.credentials).objects == 1005


def test_with_a_wrong_key_nothing_is_taken_for_empty(server: Server, bucket: str) -> None:
    with pytest.raises(ClientError):
        list_prefix(f"s3://{bucket}/in", server.credentials | {"aws_secret_access_key": "guessed"})


# ------------------------------------------------------------ the schedule


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets the variables that begin with COUNTERWEIGHT_."""
    for name in ("WATCH", "WATCH_INTERVAL", "S3_ENDPOINT", "REMOTE", "RUNS"):
        monkeypatch.delenv(f"COUNTERWEIGHT_{name}", raising=False)

    def set_all(**values: str) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"COUNTERWEIGHT_{name}", value)

    return set_all


def test_without_a_prefix_the_night_alone_starts_runs(settings: Any) -> None:
    assert watch.schedule(NIGHTLY) is NIGHTLY


def test_with_prefixes_their_events_do_too(settings: Any) -> None:
    settings(WATCH="s3://a/in  s3://b", RUNS="s3://a/runs", REMOTE="s3://a/dvc", S3_ENDPOINT="http://127.0.0.1:1")
    schedule = watch.schedule(NIGHTLY)
    assert isinstance(schedule, AssetOrTimeSchedule)
    assert schedule.timetable is NIGHTLY
    (asset,) = schedule.asset_condition.objects
    assert asset.name == "counterweight://source"
    triggers = {watcher.name: watcher.trigger for watcher in asset.watchers}
    assert set(triggers) == {"s3://a/in", "s3://b"}
    assert triggers["s3://b"].serialize()[1] == {
        "uri": "s3://b",
        "runs": "s3://a/runs",
        "interval": 60.0,
        "endpoint": "http://127.0.0.1:1",
        "aws_conn_id": None,
    }
    read = decode_timetable(encode_timetable(schedule))
    assert read.summary == "Asset or 0 2 * * *"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"WATCH": "s3://a", "RUNS": ""}, "COUNTERWEIGHT_WATCH needs COUNTERWEIGHT_RUNS, where it remembers"),
        ({"WATCH": "/data/in"}, r"COUNTERWEIGHT_WATCH must name prefixes as s3://bucket/prefix, got '/data/in'$"),
        ({"WATCH": "s3:///in"}, r"COUNTERWEIGHT_WATCH must name prefixes as s3://bucket/prefix, got 's3:///in'$"),
        ({"WATCH_INTERVAL": "0.5"}, r"COUNTERWEIGHT_WATCH_INTERVAL must be .* at least 1, got '0\.5'$"),
        ({"WATCH_INTERVAL": "often"}, "COUNTERWEIGHT_WATCH_INTERVAL must be .* at least 1, got 'often'$"),
        ({"WATCH_INTERVAL": "inf"}, "COUNTERWEIGHT_WATCH_INTERVAL must be .* at least 1, got 'inf'$"),
        ({"RUNS": "s3://a/in/runs"}, r"s3://a/in holds COUNTERWEIGHT_RUNS \(s3://a/in/runs\): every run would start"),
        ({"RUNS": "s3://a/in"}, r"s3://a/in holds COUNTERWEIGHT_RUNS \(s3://a/in\): every run would start"),
        ({"WATCH": "s3://a", "REMOTE": "s3://a/dvc"}, "s3://a holds COUNTERWEIGHT_REMOTE"),
    ],
)
def test_wrong_settings_are_told_in_one_line(settings: Any, given: dict[str, str], told: str) -> None:
    settings(**({"WATCH": "s3://a/in", "RUNS": "s3://a/inside"} | given))
    with pytest.raises(ValueError, match=told):
        watch.schedule(NIGHTLY)
