# Everything a user or the CI does, one target each: `make help` lists them.

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help setup demo run airflow up down test lint e2e e2e-airflow e2e-ceph e2e-cluster e2e-long e2e-ui fuzz bench clean lock .install .source

PYTHON ?= python3.11
UV_VERSION := 0.13.9
VENV := .venv
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

# What a recipe needs to find the environment's own python, dvc, pytest.
IN_VENV = set -eo pipefail; export DVC_NO_ANALYTICS=1 PATH="$(CURDIR)/$(VENV)/bin:$$PATH"

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf 'make %-11s %s\n' "$$name" "$$text"; done

# ------------------------------------------------------------ the environment

# Where a CPU wheel of torch is offered through PIP_FIND_LINKS uv takes it; else torch comes from the public index (CUDA).
# pip separates several places by spaces, uv by commas.
ifdef PIP_FIND_LINKS
comma := ,
empty :=
export UV_FIND_LINKS ?= $(subst $(empty) $(empty),$(comma),$(strip $(PIP_FIND_LINKS)))
endif

# The stamp says what the environment was made from: the lock's content and the folder (a moved environment is broken).
# It is written last, so an interrupted set-up is redone.
STAMP := $(VENV)/made-from
WANTED = $$(git hash-object requirements.lock) uv $(UV_VERSION) in $(CURDIR)
READY = [ -x $(VENV)/bin/python ] && [ "$$(cat $(STAMP) 2>/dev/null)" = "$(WANTED)" ]
IS_PYTHON_3_11 = "$(PYTHON)" -c 'import ensurepip, sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1

setup: ## make .venv from requirements.lock; nothing to do where it is up to date
	@$(READY) || { \
		$(IS_PYTHON_3_11) || { echo "make: no Python 3.11 with its venv module at '$(PYTHON)': install python3.11" \
			"(on Debian python3.11-venv too) or name another: make PYTHON=/path/to/python3.11" >&2; exit 1; }; \
		turns=$$(command -v flock) && turns="$$turns .setup.lock" || true; \
		$$turns $(MAKE) --no-print-directory .install; }

# Runs under the lock of .setup.lock, so it asks again: another `make` may have made the environment meanwhile.
.install:
	@set -e; if $(READY); then exit 0; fi; \
	echo "Making $(VENV) from requirements.lock: about 2.5 GB, one to ten minutes"; \
	"$(PYTHON)" -m venv --clear $(VENV); \
	$(VENV)/bin/python -m pip install -qq --disable-pip-version-check uv==$(UV_VERSION); \
	quiet=$$([ -t 2 ] || echo --quiet); \
	$(VENV)/bin/uv pip install $$quiet --python $(VENV)/bin/python --compile-bytecode -r requirements.lock; \
	echo "$(WANTED)" > $(STAMP)

# One lock for both builds of torch: without the local version and without what only the CUDA build needs.
lock: setup ## bring requirements.lock up to date with pyproject.toml, its pins kept
	@set -eo pipefail; new=$$(mktemp); trap 'rm -f "$$new"' EXIT; cp requirements.lock "$$new"; \
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --python-version 3.11 \
		--no-annotate --no-header --quiet --output-file "$$new" > /dev/null; \
	sed -E 's/^(torch==[^+]*)\+.*/\1/' "$$new" | grep -Ev '^(nvidia-|cuda-|triton)' > "$$new.both"; \
	cat "$$new.both" > requirements.lock; rm -f "$$new.both"

# --------------------------------------------------------------- the pipeline

define LOOP
	@$(IN_VENV); \
	python -m pipeline configure "$$SOURCE" $${SOURCE_DOMAIN:+--source-domain "$$SOURCE_DOMAIN"}; \
	python -m pipeline check; \
	python -m pipeline scan; \
	dvc repro; \
	python -m pipeline verdict
endef

demo: export SOURCE := builtin:digits
demo: export SOURCE_DOMAIN := builtin:glyphs
demo: setup ## the whole loop on real images that come with the libraries, up to the verdict
	$(LOOP)

run: .source setup ## the same on your images: make run SOURCE=path [SOURCE_DOMAIN=path]
	$(LOOP)

airflow: setup ## Airflow on this machine: the same graph nightly, or from a form; Ctrl-C stops it
	@$(IN_VENV); exec python -m plugins.local

up: ## a cluster in containers: Airflow, Celery workers, PostgreSQL, Redis, S3; says where it is and how to log in
	@docker/stack.sh up

down: ## stop that cluster; its data stay in Docker's volumes
	@docker/stack.sh down

.source:
	@[ -n "$$SOURCE" ] || { echo "make: say where your images are: make run SOURCE=path/to/folder-or-zip" >&2; exit 1; }

# ----------------------------------------------------------------- the checks

test: setup ## the test suite but for what e2e-... runs; PYTEST_ARGS="-k name" for a part of it
	@$(IN_VENV); pytest $(PYTEST_ARGS)

e2e: setup ## only the tests that run the whole pipeline, those of e2e-long too
	@$(IN_VENV); pytest -m e2e

e2e-airflow: setup ## a real Airflow: three doors with one result, a night with nothing new, failures, secrets, arrivals
	@$(IN_VENV); pytest -n 2 --dist loadfile -m "airflow and not ui" tests/airflow tests/airflow_watch

e2e-ceph: setup ## the bridge on Ceph's S3 gateway: atomic keys, workers without a shared disk, pushes that are cut off
	@$(IN_VENV); pytest -m ceph tests/e2e/test_ceph.py

e2e-cluster: setup ## one run on PostgreSQL, Redis, two schedulers and Celery workers, as docs/cluster.md has it
	@$(IN_VENV); pytest -m cluster tests/cluster

e2e-long: setup ## workers without a shared disk: stale, killed, cut off; old runs removed; every option of the training
	@$(IN_VENV); pytest $(PYTEST_ARGS) -m long tests/e2e

e2e-ui: setup ## a browser goes through Airflow's form, a run and its report; pictures in results/e2e-ui
	@$(IN_VENV); pytest -m ui tests/airflow/test_ui.py

# So many damaged files of each of some forty kinds of image, archive and list; the same ones in every run.
FUZZ ?= 1000
fuzz: setup ## damaged images, archives and lists by the ten thousand: FUZZ=1000 of each kind, some minutes
	@$(IN_VENV); COUNTERWEIGHT_FUZZ=$(FUZZ) pytest -n 2 --dist worksteal --durations 3 tests/decoding/test_fuzz.py tests/sources/test_fuzz.py

lint: setup ## ruff, mypy, import contracts
	@$(IN_VENV); ruff check .; ruff format --check .; mypy; lint-imports

bench: setup ## ours against a peer, in one run
	@$(IN_VENV); python -m benchmarks

# Only what dvc.yaml names is deleted: a user's images may lie in data/ too.
clean: ## delete the pipeline's outputs and scratch; .venv, the DVC cache and your images stay
	@$(IN_VENV); \
	[ -x $(VENV)/bin/python ] || { echo "Nothing deleted: without $(VENV) the pipeline has not run here."; exit 0; }; \
	python -c 'from plugins.dvc_graph import read_graph as read; [print(*s.outs, sep="\n") for s in read().values()]' \
		| while IFS= read -r out; do rm -rf -- "$$out"; done; \
	for folder in data models results; do if [ -d $$folder ]; then find $$folder -type d -empty -delete; fi; done; \
	rm -rf .counterweight .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis; \
	find pipeline plugins dags tests benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true; \
	echo "Deleted what the pipeline made. Kept: $(VENV), .dvc/cache (dvc checkout brings the results back), .remote," \
		"dvc.lock, source.json, looks.json, params.yaml."
