#!/bin/bash
# Airflow's API server with one user, admin. Airflow's simple auth manager reads passwords from a file and wants to write
# there too, so it is made here from ADMIN_PASSWORD and not mounted.

set -euo pipefail
: "${ADMIN_PASSWORD:?must be set}"
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS=admin:admin
export AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=$AIRFLOW_HOME/passwords.json
(
    umask 077
    python -c 'import json, os; print(json.dumps({"admin": os.environ["ADMIN_PASSWORD"]}))' \
        > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
)
unset ADMIN_PASSWORD
exec airflow api-server
