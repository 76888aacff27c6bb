#!/bin/bash
# Builds the images and runs them, on a Debian machine without a container engine: docker/verify.sh [TARGET...]
#
# Needs root, 20 GB and half an hour; Debian's packages buildah and debootstrap. Targets: airflow and worker-cpu, if none
# is named. The base is made with debootstrap under the name that the Dockerfile gives it, since it may be out of reach.
#   VERIFY_DIR       where all of it is kept: base, images, containers; default /var/tmp/counterweight-verify
#   PIP_FIND_LINKS   folder or page with a CPU wheel of torch; without it torch comes from PyTorch's own index
#   TORCH_BACKEND    for worker-gpu: another CUDA than that of PyPI's torch, such as cu128
#   SSL_CERT_FILE    certificates to trust in a build, where a proxy has its own

set -euo pipefail
cd "$(dirname "$0")/.."
work=${VERIFY_DIR:-/var/tmp/counterweight-verify}
[ "$(id -u)" = 0 ] || { echo "verify: must run as root" >&2; exit 1; }
for tool in buildah debootstrap git; do
    command -v "$tool" > /dev/null || { echo "verify: $tool is missing: apt-get install buildah debootstrap git" >&2; exit 1; }
done
mkdir -p "$work/tmp"
export TMPDIR="$work/tmp" BUILDAH_ISOLATION=chroot
# Not the machine's own store of images.
buildah() { command buildah --root "$work/store" --runroot "$work/run" "$@"; }

base=$(sed -n 's/^FROM \(python:[^ ]*\) AS base$/docker.io\/library\/\1/p' docker/Dockerfile)
mounts=()
if [ -n "${SSL_CERT_FILE:-}" ]; then mounts+=(--volume "$SSL_CERT_FILE:/etc/ssl/certs/ca-certificates.crt:ro"); fi

make_base() {
    if buildah inspect --type image "$base" > /dev/null 2>&1; then return; fi
    [ -d "$work/base/bin" ] || debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip \
        bookworm "$work/base" > "$work/debootstrap.log"
    ln -sf python3 "$work/base/usr/bin/python"
    local container
    container=$(buildah from scratch)
    buildah copy --quiet "$container" "$work/base" / > /dev/null
    buildah commit --quiet --rm "$container" "$base" > /dev/null
}

find_links() { # FOLDER OR URL: adds to the args of build
    if [ -d "$1" ]; then
        args+=(--volume "$1:/wheels:ro" --build-arg FIND_LINKS=/wheels)
    else
        args+=(--build-arg "FIND_LINKS=$1")
    fi
}

build() { # TARGET
    local args=()
    case "$1" in
        airflow) ;;
        worker-gpu) if [ -n "${TORCH_BACKEND:-}" ]; then args+=(--build-arg "TORCH_BACKEND=$TORCH_BACKEND"); fi ;;
        *) if [ -n "${PIP_FIND_LINKS:-}" ]; then args+=(--build-arg TORCH_BACKEND=); find_links "$PIP_FIND_LINKS"; fi ;;
    esac
    local start=$SECONDS
    buildah bud --pull=never --format docker --layers --ulimit nofile=4096:4096 "${mounts[@]}" "${args[@]}" \
        --file docker/Dockerfile --target "$1" --tag "counterweight/$1" . > "$work/build-$1.log" 2>&1 \
        || { tail -30 "$work/build-$1.log" >&2; echo "verify: $1 did not build; see $work/build-$1.log" >&2; exit 1; }
    echo "$1: built in $((SECONDS - start)) s"
}

# In a container of an image, as its own user: a repository to clone lies at /srv/git/counterweight.git.
inside() { # COMMAND...
    buildah run "${mounts[@]}" --volume "$work/counterweight.git:/srv/git/counterweight.git:ro" "$container" -- "$@"
}

refuses() { # COMMAND...
    if "$@" > /dev/null 2>&1; then echo "verify: this should have failed: $*" >&2; exit 1; fi
}

check() { # TARGET
    container=$(buildah from --pull-never "counterweight/$1")
    [ "$(inside id -u)" = 1000 ]
    echo "$1: $(buildah run --user 0 "$container" -- du --summarize --si --one-file-system / | cut -f1)," \
        "user $(inside id -un), Airflow $(inside airflow version 2> /dev/null | tail -1)"
    # What the API server, dag processor and workers do with the project: none of it may fail, or need what is not there.
    inside python -W ignore - < docker/verify_dags.py
    refuses inside python docker/health.py api-server # none runs here
    refuses inside python docker/health.py nonsense
    "check_$1"
    buildah rm "$container" > /dev/null
    echo "$1: ok"
}

check_airflow() {
    refuses inside python -c "import torch"
    refuses inside touch /opt/counterweight/written
}

check_worker-cpu() {
    inside python -c "import torch; print('torch', torch.__version__); assert torch.version.cuda is None"
    run_stages
}

check_worker-gpu() {
    inside python -c "import torch; print('torch', torch.__version__); assert torch.version.cuda"
    run_stages
}

run_stages() { # as a worker does: in a fresh checkout of a commit
    inside bash -euo pipefail -c "
        git clone --quiet /srv/git/counterweight.git /srv/scratch/checkout
        cd /srv/scratch/checkout
        export PYTHONPATH=
        python -m pipeline configure builtin:digits
        python -m pipeline check
        python -m pipeline scan
        dvc repro analyze_bias
        dvc status analyze_bias
        ls -l data/real/train results/analyze_bias"
}

rm -rf "$work/counterweight.git"
git -c safe.directory='*' clone --quiet --bare . "$work/counterweight.git"
chown -R 1000 "$work/counterweight.git" # git reads no repository of somebody else
make_base
if [ $# = 0 ]; then set -- airflow worker-cpu; fi
for target in "$@"; do
    build "$target"
    check "$target"
done
