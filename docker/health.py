"""Exits with 0 if a part of Airflow is healthy; seconds, and without importing Airflow: `python docker/health.py PART`.

`api-server`, `scheduler`, `dag-processor` and `triggerer` are asked of the API server, which knows their heartbeats;
`worker` is this machine's Celery worker, asked through the broker.
"""

import json
import os
import socket
import sys
import urllib.request

NAMES = {
    "api-server": "metadatabase",
    "scheduler": "scheduler",
    "dag-processor": "dag_processor",
    "triggerer": "triggerer",
}
TIMEOUT_S = 10.0


def part_is_healthy(part: str, server: str) -> bool:
    """Whether the API server at `server` calls a part of Airflow healthy.

    Raises:
        OSError: the server does not answer.
    """
    with urllib.request.urlopen(f"{server}/api/v2/monitor/health", timeout=TIMEOUT_S) as answer:  # noqa: S310
        status = (json.load(answer).get(NAMES[part]) or {}).get("status")
    return bool(status == "healthy")


def worker_answers(broker: str, host: str, timeout_s: float = TIMEOUT_S) -> bool:
    """Whether the Celery worker of `host` answers a ping through `broker`."""
    from celery import Celery

    with Celery(broker=broker) as app:
        return bool(app.control.ping(destination=[f"celery@{host}"], timeout=timeout_s))


def main(arguments: list[str]) -> int:
    """0 if healthy, 1 if not, 2 for an unknown part."""
    if len(arguments) != 1 or arguments[0] not in (*NAMES, "worker"):
        print(f"health.py takes one of {', '.join(NAMES)}, worker; got {arguments}", file=sys.stderr)
        return 2
    part = arguments[0]
    if part == "worker":
        return 0 if worker_answers(os.environ["AIRFLOW__CELERY__BROKER_URL"], socket.gethostname()) else 1
    server = os.environ.get("AIRFLOW__CORE__EXECUTION_API_SERVER_URL", "http://127.0.0.1:8080/execution/")
    try:
        return 0 if part_is_healthy(part, server.removesuffix("/execution/")) else 1
    except OSError as error:
        print(f"{server}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
