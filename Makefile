# The one door. Needs python3 (3.11 or later) with venv, and make; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install -qq --constraint constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage test-browser stress check style types format hooks pictures bench clean

help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready ## make .venv with exact versions (once; again when they change)

# Made again only when the dependencies change, so that a second call is quick.
.venv/ready: pyproject.toml constraints.txt
	@echo "Setting up .venv, once; how many minutes that takes is up to the network."
	@echo "  1/4 a virtual environment"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "  2/4 PyTorch, by far the largest part"
	@$(PIP) torch
	@echo "  3/4 what fitgate itself needs: Lightning, pyarrow, TensorBoard, …"
	@$(PIP) --editable .
	@echo "  4/4 what the demo and the tests need: scikit-learn, ONNX, pytest, other readers and loggers to compare with, …"
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: setup ## train, judge and export a small net: the whole road
	@$(BIN)/fitgate demo

# All tests of a file in one process: what they share is made once.
PYTEST := $(BIN)/pytest -n 2 --dist loadscope
test: setup ## pass the tests, doctests included
	$(PYTEST)

coverage: setup ## pass the tests and report what they cover, which takes them half as long again
	$(PYTEST) --cov

test-browser: setup ## drive TensorBoard in a headless Chromium (Debian: installed where it is missing)
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null
	@$(PIP) --editable '.[dev,browser]'
	$(BIN)/pytest -m browser tests/browser

stress: setup ## pass the slow tests, which `make test` leaves out
	$(BIN)/pytest -m stress

check: style types coverage ## everything that pre-commit asks for

style: setup ## check format and lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup ## check types
	$(BIN)/mypy

format: setup ## mend format, and what the linter can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# BENCH_PYTHON is a python that has other trackers too, where there is one: docs/benchmarks.md.
BENCH_PYTHON ?= $(firstword $(wildcard .venv-peers/bin/python) $(BIN)/python)
bench: setup ## measure cost, size and speed, beside other trackers
	$(BENCH_PYTHON) -m benchmarks.trackers --instructions $(BENCH_ARGS)
	for script in benchmarks/store_*.py; do $(BIN)/python $$script || exit 1; done

hooks: setup ## check at every commit (style, types) and push (tests)
	$(BIN)/pre-commit install

pictures: setup ## make the README's pictures again (needs chromium)
	@$(PIP) --editable '.[browser]'
	$(BIN)/python docs/make_pictures.py

clean: ## remove .venv and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .coverage
