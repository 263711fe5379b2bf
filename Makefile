# Every target makes its own environment: a fresh clone needs Python 3.10 to 3.13 and nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO_OUTPUT ?= demo_output
# Processes that share the tests, a room each at a time.
TEST_WORKERS ?= 2

.PHONY: help demo test test-slow check format lint types docs clean

help:
	@echo "make demo    the whole job on generated videos; report in $(DEMO_OUTPUT)/report.html"
	@echo "make test    the tests                           make test-slow   also those that take minutes"
	@echo "make check   format, lint, types and tests       make format      fix the format"
	@echo "make docs    the API reference, in docs/api"

$(STAMP): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip "setuptools<82"
	$(BIN)/pip install --quiet --editable ".[dev]"
	touch $@

demo: $(STAMP)
	$(BIN)/perfnet demo --output=$(DEMO_OUTPUT)

test: $(STAMP)
	$(BIN)/python tests/run_rooms.py --processes=$(TEST_WORKERS)

test-slow: $(STAMP)
	$(BIN)/python tests/run_rooms.py --processes=$(TEST_WORKERS) -m "slow or not slow"

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	TF_CPP_MIN_LOG_LEVEL=3 $(BIN)/python docs/build_api.py

check: lint types test

clean:
	rm -rf $(VENV) $(DEMO_OUTPUT) build docs/api *.egg-info
