# make demo       real photos cut into regions four ways; writes demo/contact_sheet.png
# make test       the tests (about three minutes after the installation)
# make test-slow  the long tests
# make lint       style and types
# make docs       the documentation site, strictly, into site/; make docs-serve shows it while you write
# Each first makes .venv and installs what it needs, once: the standard torch build takes about 7 GB and a few minutes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
JOBS ?= auto

.PHONY: demo test test-slow lint docs docs-serve bench clean

demo: $(VENV)/.ready-demo
	$(BIN)/regiontok demo --out demo

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not slow"

test-slow: $(VENV)/.ready-test
	$(BIN)/python -m pytest -q -n $(JOBS) -m slow

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "regiontok needs Python 3.11 or newer: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-demo: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing regiontok into $(VENV) (7 GB with the standard torch build; once)"
	$(PIP) -e .
	@touch $@

$(VENV)/.ready-test: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing regiontok and what its tests need into $(VENV) (7 GB with the standard torch build; once)"
	$(PIP) -e '.[hub,plot,store,video,train,log,dev]'
	@touch $@ $(VENV)/.ready-demo

$(VENV)/.ready-docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing regiontok and what its site needs into $(VENV) (7 GB with the standard torch build; once)"
	$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/.ready-demo

clean:
	rm -rf demo out site .pytest_cache .ruff_cache .mypy_cache .hypothesis
