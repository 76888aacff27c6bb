"""The health check, against a real HTTP server with Airflow's answers and against a broker without workers."""

import json
import runpy
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.docker.files import DOCKER

HEALTH = runpy.run_path(str(DOCKER / "health.py"))
STATUS: dict[str, Any] = {}


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/v2/monitor/health" else 404)
        self.end_headers()
        self.wfile.write(json.dumps(STATUS).encode())

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    STATUS.clear()
    STATUS.update({part: {"status": "healthy"} for part in HEALTH["NAMES"].values()})
    with HTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        url = f"http://127.0.0.1:{http.server_port}/execution/"
        monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", url)
        yield url
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("part", HEALTH["NAMES"])
def test_a_part_is_as_healthy_as_the_api_server_says(server: str, part: str) -> None:
    assert HEALTH["main"]([part]) == 0
    STATUS[HEALTH["NAMES"][part]] = {"status": "unhealthy"}
    assert HEALTH["main"]([part]) == 1
    STATUS[HEALTH["NAMES"][part]] = None  # a part that never ran
    assert HEALTH["main"]([part]) == 1


def test_nothing_is_healthy_where_nothing_answers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:9/execution/")
    assert HEALTH["main"](["scheduler"]) == 1


def test_a_worker_that_does_not_answer_is_not_healthy() -> None:
    assert HEALTH["worker_answers"]("memory://", "nobody", 0.1) is False


@pytest.mark.parametrize("words", [[], ["nonsense"], ["worker", "scheduler"]])
def test_an_unknown_part_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert HEALTH["main"](words) == 2
    assert "takes one of api-server, scheduler, dag-processor, triggerer, worker" in capsys.readouterr().err
