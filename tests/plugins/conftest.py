from tests.dags.conftest import home
from tests.e2e.test_remote import server

__all__ = ["home", "server"]  # Airflow's home, set before Airflow is imported; and an S3 server
