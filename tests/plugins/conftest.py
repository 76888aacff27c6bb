from tests.dags.conftest import home
from tests.s3 import server

__all__ = ["home", "server"]  # Airflow's home, set before Airflow is imported; and an S3 server
