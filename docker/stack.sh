#!/bin/bash
# `make up` and `make down`: docker/compose.yaml, its secrets, and this checkout's commit in its git repository.

set -euo pipefail
cd "$(dirname "$0")/.."
secrets=${ENV_FILE:-docker/.env}
compose=(docker compose --file docker/compose.yaml --env-file "$secrets")

fail() { echo "make: $*" >&2; exit 1; }

random() { # BYTES, as hexadecimal digits: they need no quoting in a URL
    od -An -v -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

write_secrets() {
    local profile="" queues=cpu,gpu
    if nvidia-smi --list-gpus > /dev/null 2>&1; then profile=gpu queues=cpu; fi
    (
        umask 077
        cat > "$secrets.new" << END
# Written by \`make up\`, which never changes it again. PostgreSQL and S3 take their keys over at their first start.
ADMIN_PASSWORD=$(random 9)
POSTGRES_PASSWORD=$(random 24)
REDIS_PASSWORD=$(random 24)
S3_ACCESS_KEY=$(random 10)
S3_SECRET_KEY=$(random 24)
FERNET_KEY=$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')
API_SECRET_KEY=$(random 32)
JWT_SECRET=$(random 32)
# gpu: a worker with this machine's GPUs serves the queue gpu; else the CPU worker serves both.
COMPOSE_PROFILES=$profile
CPU_WORKER_QUEUES=$queues
END
        mv "$secrets.new" "$secrets"
    )
    echo "Wrote $secrets: passwords and keys, readable by you alone"
}

setting() { # NAME: what the environment or else the file says, as for Docker Compose
    printf '%s' "${!1:-$(sed -n "s/^$1=//p" "$secrets")}"
}

# Through the container rather than a port: whoever may use Docker may push, and nobody else.
push() {
    git rev-parse --verify --quiet HEAD > /dev/null || fail "commit something first: runs use committed code"
    [ -z "$(git status --porcelain --untracked-files=no)" ] || echo "note: runs use committed code; what is not" \
        "committed here is not part of them"
    git -c protocol.ext.allow=always push --quiet --force \
        "ext::${compose[*]} exec -T git %S /srv/git/counterweight.git" HEAD:refs/heads/main
}

up() {
    [ -f "$secrets" ] || write_secrets
    "${compose[@]}" up --build --detach
    [ -n "$(setting COUNTERWEIGHT_GIT)" ] || push
    echo "Airflow: http://127.0.0.1:$(p=$(setting PORT); echo "${p:-8080}")  log-in: admin / ADMIN_PASSWORD of $secrets" \
        "  (make down stops it)"
}

down() {
    [ -f "$secrets" ] || fail "nothing to stop: $secrets is not there, so \`make up\` has not run here"
    "${compose[@]}" --profile gpu down
    echo "Stopped. Data, runs and logs stay in Docker's volumes counterweight_*, keys in $secrets."
}

case "${1:-}" in
    up | down)
        docker compose version > /dev/null 2>&1 || fail "make $1 needs Docker with its Compose plugin (docker compose version)"
        "$1"
        ;;
    *) fail "docker/stack.sh takes up or down, got '${1:-}'" ;;
esac
