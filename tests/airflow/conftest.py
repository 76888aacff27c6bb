import pytest

from tests.e2e.conftest import finished

__all__ = ["finished"]


def pytest_itemcollected(item: pytest.Item) -> None:
    """Every test here starts a real Airflow: they run when asked for."""
    item.add_marker(pytest.mark.airflow)
