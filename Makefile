# The one door. Needs python3 (3.11 or later) with venv, and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup test stress check format clean

setup: .venv/ready

# Made again only when the dependencies change, so that a second call is quick.
.venv/ready: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

test: setup
	$(BIN)/pytest

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

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
