# Two commands on a bare machine: make repro, make test. Plain `make` lists them all.
PYTHON ?= python3
# That of the machine, found before .venv comes first in PATH.
override PYTHON := $(or $(shell command -v $(PYTHON)),$(PYTHON))
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Container images set it; then every process would compile torch's Python files again.
unexport PYTHONDONTWRITEBYTECODE
# GPUs need this for repeatable matrix products.
export CUBLAS_WORKSPACE_CONFIG ?= :4096:8

.DEFAULT_GOAL := help
.PHONY: help install repro test test-slow check lint lock audit clean

help:  ## list these commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## make .venv from requirements.lock

# The machine's pip installs into .venv where it can: a pip inside .venv takes seconds to make.
$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, found " + sys.version.split()[0] + "; run: make PYTHON=python3.11 …")'
	test -x $(BIN)/python || $(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check uv 2>/dev/null || \
	  { $(BIN)/python -m ensurepip >/dev/null && $(BIN)/python -m pip install --quiet --disable-pip-version-check uv; }
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

repro: install  ## run the whole pipeline: images to a measured index
	dvc repro

test: install lint  ## lint, types and all tests but the long ones
	python -m pytest

test-slow: install  ## the long tests: emulated processors, simulations, signals at many moments
	python -m pytest -m long

check: install lint  ## for daily work: lint, types and the quick tests (no whole DAG, no browser)
	python -m pytest -m "not dag and not browser and not slow and not long"

lint: install  ## formatting, lint and types alone
	ruff format --check .
	ruff check .
	mypy

lock:  ## renew requirements.lock with the latest releases that resolve together
	UV_CUSTOM_COMPILE_COMMAND="make lock" uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-emit-index-url --no-emit-find-links --all-extras pyproject.toml -o requirements.lock

audit: install  ## ask for known vulnerabilities of the locked versions, which needs the network
	python -m tests.helpers.audit

clean:  ## remove .venv and caches; data, models and results stay
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find app benchmarks pipeline stages tests -name __pycache__ -prune -exec rm -rf {} +
