# Every command of the project; people and CI use these and no others.

PYTHON ?= python3
VENV := .venv
TEST_VENV := .venv-test
BENCH ?= benches/throughput.py
SHELL := /bin/bash

.PHONY: help demo test test-full test-env build pure-wheel dev lint format tables bench soak clean

help: ## Say what the targets do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/bin/python ## Build, and run the program of the README on an SQLite file in two processes
	@tools/ensure_packages.sh cargo:cargo cc:gcc
	rm -f python/hotmesh/_core.*.so
	$(VENV)/bin/python -m pip install --quiet --editable .
	HOTMESH_CORE=rust $(VENV)/bin/python examples/faq.py

test: ## Check everything: linters, types, Rust tests; both cores, servers with the Rust core
	@PYTHON=$(PYTHON) tools/check.sh

test-full: ## The same, both cores on every server, and many seeds of the simulation
	@PYTHON=$(PYTHON) tools/check.sh --full

test-env: ## Install what the tests need, build the wheel, install it in a clean environment
	@PYTHON=$(PYTHON) tools/test_env.sh

build: $(VENV)/bin/python ## Build the release wheel into dist/
	@tools/ensure_packages.sh cargo:cargo cc:gcc
	rm -f dist/*.whl
	$(VENV)/bin/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	@ls dist/*.whl

pure-wheel: $(VENV)/bin/python ## Build the wheel without the extension (py3-none-any) and try it
	$(VENV)/bin/python tools/build_pure_wheel.py --out dist/pure --check

dev: $(VENV)/bin/python ## Install editable with all extras and tools, for work on the code
	rm -f python/hotmesh/_core.*.so
	$(VENV)/bin/python -m pip install --quiet --editable '.[all]' --group dev
	@echo "Now: source $(VENV)/bin/activate"

lint: dev ## Run the linters and type checkers on the source tree
	@tools/lint.sh $(VENV)

format: dev ## Format Python and Rust
	$(VENV)/bin/ruff check --fix-only --quiet .
	$(VENV)/bin/ruff format --quiet .
	cargo fmt

tables: dev ## Write what follows from the core's tables: its Rust twin, pictures in the documents
	$(VENV)/bin/python tools/write_tables.py
	cargo fmt

bench: test-env ## Measure the release wheel on each backend, and compare with the last figures
	$(TEST_VENV)/bin/python -m pip install --quiet --group bench
	$(TEST_VENV)/bin/python $(BENCH)

soak: test-env ## Run the long tests, about an hour (kill -9 loops, HOTMESH_SOAK_SEEDS=500 seeds)
	HOTMESH_TEST_INSTALLED=1 $(TEST_VENV)/bin/pytest -m soak --timeout 0 \
		-n 2 --dist worksteal tests

clean: ## Remove what builds and tests left behind
	rm -rf target dist build $(VENV) $(TEST_VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache
	rm -f python/hotmesh/_core.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@tools/make_venv.sh $(PYTHON) $(VENV)
