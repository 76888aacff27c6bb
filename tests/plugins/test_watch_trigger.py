"""The trigger that looks at a prefix as Airflow's triggerer runs it, against a real S3 server."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from airflow.serialization.encoders import encode_trigger

from plugins.watch import PrefixTrigger, PrefixWatch
from tests.s3 import REGION, Server


def trigger(server: Server, bucket: str, tmp_path: Path, **changes: Any) -> PrefixTrigger:
    arguments = {
        "uri": f"s3://{bucket}/in",
        "runs": str(tmp_path / "runs"),
        "interval": 0.02,
        "endpoint": server.endpoint,
        "aws_conn_id": "objects",
    }
    made = PrefixTrigger(**(arguments | changes))
    made._log = logging.getLogger("watch")  # Airflow's own prints past pytest
    return made


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Sets the Airflow connection that the triggers name."""

    def connection(login: str, password: str) -> None:
        given = {"conn_type": "aws", "login": login, "password": password, "extra": {"region_name": REGION}}
        monkeypatch.setenv("AIRFLOW_CONN_OBJECTS", json.dumps(given))

    return connection


def run(body: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(body(), 30))


def test_it_fires_for_what_comes_and_only_then(
    server: Server, bucket: str, put: Any, tmp_path: Path, connection: Any
) -> None:
    connection(server.key, server.secret)

    async def body() -> None:
        async with aclosing(trigger(server, bucket, tmp_path).run()) as events:
            coming = asyncio.ensure_future(anext(events))
            assert not (await asyncio.wait([coming], timeout=0.5))[0]
            for key in ("in/cat/1.png", "in/dog/1.png"):
                await asyncio.to_thread(put, key)
            payload = (await coming).payload
            assert (payload["uri"], payload["objects"]) == (f"s3://{bucket}/in", 2)
            coming = asyncio.ensure_future(anext(events))
            assert not (await asyncio.wait([coming], timeout=0.5))[0]
            await asyncio.to_thread(put, "in/cat/2.png")
            assert (await coming).payload["objects"] == 3

    run(body)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uri": "s3://no-such-bucket/in"}, "NoSuchBucket: "),
        ({"aws_conn_id": "unknown"}, "AirflowNotFoundException: .*unknown"),
        ({"endpoint": "http://127.0.0.1:1"}, "EndpointConnectionError: Could not connect"),
        ({"runs": "/dev/null/runs"}, r"\w+Error: .*/dev/null"),
    ],
)
def test_what_goes_wrong_is_told_in_one_line_a_look_and_it_goes_on(
    server: Server,
    bucket: str,
    put: Any,
    tmp_path: Path,
    connection: Any,
    caplog: pytest.LogCaptureFixture,
    changes: dict[str, str],
    words: str,
) -> None:
    put("in/cat/1.png")
    connection(server.key, server.secret)
    watching = trigger(server, bucket, tmp_path, **changes)

    async def body() -> None:
        async with aclosing(watching.run()) as events:
            coming = asyncio.ensure_future(anext(events))
            while len(caplog.records) < 2:
                await asyncio.wait([coming], timeout=0.01)
                if coming.done():  # what it fired for could not be remembered
                    assert changes.keys() == {"runs"}
                    coming = asyncio.ensure_future(anext(events))
            coming.cancel()
            await asyncio.wait([coming])

    with caplog.at_level(logging.WARNING):
        run(body)
    for record in caplog.records:
        assert re.match(rf"watch: s3://\S+/in: {words}.*; next look in 0\.02 s$", record.getMessage())
        assert server.secret not in record.getMessage()


def test_an_error_of_many_lines_is_told_in_one(
    server: Server, bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise TypeError("two\n  lines")

    monkeypatch.setattr(PrefixWatch, "look", fail)

    async def body() -> None:
        async with aclosing(trigger(server, bucket, tmp_path, aws_conn_id=None).run()) as events:
            coming = asyncio.ensure_future(anext(events))
            while len(caplog.records) < 2:
                await asyncio.wait([coming], timeout=0.01)
            coming.cancel()
            await asyncio.wait([coming])

    with caplog.at_level(logging.WARNING):
        run(body)
    line = f"watch: s3://{bucket}/in: TypeError: two lines; next look in 0.02 s"
    assert {record.getMessage() for record in caplog.records} == {line}


def test_with_a_wrong_key_it_says_so_until_the_connection_is_corrected(
    server: Server, bucket: str, put: Any, tmp_path: Path, connection: Any, caplog: pytest.LogCaptureFixture
) -> None:
    put("in/cat/1.png")
    connection(server.key, "guessed")

    async def body() -> None:
        async with aclosing(trigger(server, bucket, tmp_path).run()) as events:
            coming = asyncio.ensure_future(anext(events))
            while len(caplog.records) < 2:
                assert not (await asyncio.wait([coming], timeout=0.01))[0]
            connection(server.key, server.secret)
            assert (await coming).payload["objects"] == 1

    with caplog.at_level(logging.WARNING):
        run(body)
    lines = [record.getMessage() for record in caplog.records]
    assert all("SignatureDoesNotMatch" in line and "guessed" not in line for line in lines)


def test_airflow_can_store_it_and_what_is_stored_holds_no_key(
    server: Server, bucket: str, tmp_path: Path, connection: Any
) -> None:
    connection(server.key, server.secret)
    path, arguments = trigger(server, bucket, tmp_path).serialize()
    assert path == "plugins.watch.PrefixTrigger"
    again = PrefixTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert server.secret not in json.dumps(arguments)
    assert encode_trigger(again)["classpath"] == path
