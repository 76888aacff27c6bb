import atexit
import os
import shutil
import tempfile

# Airflow reads its home when it is first imported, so it is set here, before a test module imports it.
home = tempfile.mkdtemp(prefix="airflow-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
os.environ["AIRFLOW_HOME"] = home
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
