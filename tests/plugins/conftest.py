from collections.abc import Callable

import pytest

from tests.dags.conftest import home
from tests.s3 import Server, server

__all__ = ["home", "server"]  # Airflow's home, set before Airflow is imported; and an S3 server


@pytest.fixture
def bucket(server: Server) -> str:
    return server.new_bucket()


@pytest.fixture
def put(server: Server, bucket: str) -> Callable[..., None]:
    client = server.client()
    return lambda key, body=b"1": client.put_object(Bucket=bucket, Key=key, Body=body)
