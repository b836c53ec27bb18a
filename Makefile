# The one door. Needs python3 (3.11 or later) with venv, and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test stress check format bench clean

setup: .venv/ready

# Made again only when the dependencies change, so that a second call is quick.
.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

test: setup
	$(BIN)/pytest

# Slow: processes killed at every step, hundreds of times.
stress: setup
	$(BIN)/pytest -m stress

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --quiet

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each tracker's cost a step, beside a bare fit. BENCH_PYTHON is a python with the peers, where there is one: docs/benchmarks.md.
BENCH_PYTHON ?= $(firstword $(wildcard .venv-peers/bin/python) $(BIN)/python)
bench: setup
	$(BENCH_PYTHON) -m benchmarks.trackers --instructions $(BENCH_ARGS)
	$(if $(wildcard benchmarks/store_*.py),for script in benchmarks/store_*.py; do $(BIN)/python $$script || exit 1; done)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
