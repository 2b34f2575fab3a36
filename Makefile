# mailkeep: everything a developer types. `make test` and `make demo` need nothing prepared: they make
# .venv, and install what is missing (with apt-get, where there is one and it may be used).

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# A Python to make .venv from; found by name if not given: make test PYTHON=/opt/python3.13/bin/python3
export PYTHON ?=

# What the tests and the benchmarks use of Debian's. The demo needs nothing of it.
TEST_PACKAGES := openssh-server openssh-client notmuch mutt strace man-db pipx zsh fish vim rsync dovecot-imapd isync
BENCH_PACKAGES := interimap unison

PY := .venv/bin/python -bb
# As many test processes as processors; make test WORKERS=0 for none.
WORKERS ?= auto
PYTEST := $(PY) -m pytest -n $(WORKERS)
SOURCES := $(wildcard src tests tools demo spec)

# Another project's modules must not get into ours.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONOPTIMIZE VIRTUAL_ENV

.PHONY: help test check lint format unit crash soak fuzz mutants bench demo docs constraints install packages clean distclean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: packages install ## Install what is missing, then everything: format, lint, types, layers, tests
	@$(MAKE) check

check: lint ## As test, but install nothing
	@$(PYTEST) $(ARGS)

lint: ## Format, lint, types and layers
	@.venv/bin/ruff format --check $(SOURCES)
	@.venv/bin/ruff check $(SOURCES)
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache

format: ## Put the sources into their one form
	@.venv/bin/ruff format $(SOURCES)
	@.venv/bin/ruff check --fix $(SOURCES)

unit: ## The fast tests only
	@$(PYTEST) tests/unit $(ARGS)

# How long the random rounds go on, and the seed that draws them (a new one if not given): make soak TIME=30m SEED=4711
TIME ?= 10m
SEED ?=
SELFTEST = $(PY) -m mailkeep selftest $(if $(SEED),--seed $(SEED))

crash: packages install ## Every step and system call killed and failed, on both ends; then rounds for two minutes
	@HYPOTHESIS_PROFILE=deep $(PYTEST) -m crash --timeout 3600 $(ARGS)
	@$(SELFTEST) --time 2m

fuzz: .venv/.fuzz ## Parsers on bytes that atheris draws, guided by coverage: make fuzz ARGS='--seconds 600 wire'
	@.venv/bin/python tests/fuzz/run.py $(ARGS)

soak: packages install ## Random kills and faults on real runs for TIME (10m), then random histories of every machine
	@$(SELFTEST) --time $(TIME)
	@HYPOTHESIS_PROFILE=deep $(PYTEST) -m 'soak and not crash' --timeout 7200 $(ARGS)

mutants: install ## Break the product on purpose, and see which test notices (ARGS="--random 20 --seed 1" for more)
	@$(PY) tests/mutation/run.py $(ARGS)

bench: install ## Speed, beside Debian's other synchronisers; prints ratios
	@tools/setup packages $(TEST_PACKAGES) $(BENCH_PACKAGES)
	@$(PY) tests/bench/run.py $(ARGS)
	@$(PY) tests/bench/finding.py
	@$(PY) tests/bench/keeping.py
	@$(PY) tests/bench/giving.py
	@$(PY) tests/bench/copies.py

demo: .venv/.run ## The main job on real mail, from nothing, with what to type for your own
	@if [ -e demo/demo.py ]; then exec .venv/bin/python demo/demo.py $(ARGS); else exec bash demo/demo.sh $(ARGS); fi

docs: install ## Man pages and shell completion, from the command line's own definition
	@$(PY) tools/build_docs.py $(ARGS)

install: .venv/.dev

packages:
	@tools/setup packages $(TEST_PACKAGES)

.venv/.dev: pyproject.toml constraints.txt tools/setup
	@tools/setup venv dev

.venv/.fuzz: pyproject.toml constraints.txt tools/setup
	@tools/setup venv fuzz

.venv/.run: pyproject.toml constraints.txt tools/setup
	@tools/setup venv run

constraints: ## Write the versions in .venv to constraints.txt
	@tools/setup constraints

clean: ## Remove what was built, but not .venv
	@rm -rf build dist docs/_build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache bench-results
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove .venv too
	@rm -rf .venv
