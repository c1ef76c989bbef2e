# The only interface to the tools. Everything works from a fresh clone with python3.11, pip, make, gcc and git.

# The first that runs and is new enough: version managers leave names on PATH that do not run.
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.ready-bench
K8S_READY := $(VENV)/.ready-k8s
# What mypy reads; ruff reads everything but gen/ and third_party/.
CODE := $(wildcard mesh services simulator stack cli tests bench tools)
# Narrows what runs: `make test T=tests/unit/throttle`, `make bench ONLY=ingest`, `make chaos KILLS=300`.
T ?= tests
ONLY ?=
KILLS ?= 30
SEED ?=
# An interpreter that is not on the machine is an error, not a download.
export UV_PYTHON_DOWNLOADS := never
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test up gen fmt lint type unit chaos bench breaking k8s check clean lock

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(READY) ## the environment in .venv, every package by version and hash

$(PY):
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# uv installs in seconds what pip installs in half a minute; it does not know pip's settings, so pip stays the fallback.
define install_locked
	@echo "installing $(1) into $(VENV)"
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r requirements/uv.txt || true
	@$(BIN)/uv pip install -q --python $(PY) --require-hashes --only-binary :all: -r $(1) || { \
		echo "uv did not get through (it does not read pip's settings); now with pip"; \
		$(PY) -m pip install -q --disable-pip-version-check --require-hashes --only-binary :all: -r $(1); }
endef

$(READY): requirements/dev.txt requirements/uv.txt pyproject.toml | $(PY)
	$(call install_locked,requirements/dev.txt)
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(BENCH_READY): requirements/bench.txt $(READY)
	$(call install_locked,requirements/bench.txt)
	@touch $@

$(K8S_READY): requirements/k8s.txt $(READY)
	$(call install_locked,requirements/k8s.txt)
	@touch $@

demo: $(READY) ## from nothing to messages sent: real servers, real orders, and what arrived
	$(BIN)/beckon demo

up: $(READY) ## the whole mesh on localhost, until Ctrl-C
	$(BIN)/beckon up

test: $(READY) ## every test, on real embedded servers (T=path::test narrows, TEST_EFFORT=20 tries more)
	$(PY) -m pytest -n 2 $(T)

unit: $(READY) ## the quick ones only
	$(PY) -m pytest tests/unit tests/house

chaos: $(READY) ## kill -9 of everything in turn while events stream (KILLS=300 SEED=7)
	$(PY) -m tests.chaos --kills $(KILLS) $(if $(SEED),--seed $(SEED))

bench: $(BENCH_READY) ## the measurements behind the README's numbers (ONLY=ingest for a part)
	$(PY) -m bench $(if $(ONLY),--only $(ONLY))

gen: $(READY) ## protos/ to gen/, code to the tables of docs/
	$(PY) tools/gen.py
	$(PY) tools/docs.py

fmt: $(READY) ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/buf format -w protos

lint: $(READY) ## format, style, types, imports, protos, and that gen/ is fresh
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy $(CODE)
	$(BIN)/lint-imports --no-logo
	$(BIN)/buf lint
	$(BIN)/buf format -d --exit-code protos
	$(PY) tools/gen.py --check
	$(PY) tools/breaking.py

type: $(READY) ## mypy --strict
	$(BIN)/mypy $(CODE)

breaking: $(READY) ## protos against the last release, or against main
	$(PY) tools/breaking.py

k8s: $(K8S_READY) ## render and check every overlay, and the Dockerfile
	$(PY) -m pytest tests/house/test_manifests.py

check: lint test k8s ## everything

lock: $(READY) ## requirements/*.txt from pyproject.toml: versions and hashes, no addresses
	$(PY) tools/lock.py

clean: ## what can be made again, the environment included
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .beckon
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
