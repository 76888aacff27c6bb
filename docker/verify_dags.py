"""Exits with 1 if a DAG file or Airflow plugin of the project does not import here: run by verify.sh in each image."""

import os
import sys
import tempfile

os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp()
os.environ["COUNTERWEIGHT_PLACEMENT"] = "docker/placement/celery.yaml"

from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_fastapi_plugins, get_import_errors

bag = DagBag("dags")
apps = [app["name"] for app in get_fastapi_plugins()[0]]
errors = bag.import_errors | get_import_errors()
queues = {task.queue for dag in bag.dags.values() for task in dag.tasks}
print(f"dags: {', '.join(sorted(bag.dags))}; queues: {', '.join(sorted(queues))}; pages: {apps}; errors: {errors}")
sys.exit(bool(errors) or not bag.dags or not apps)
