.DEFAULT_GOAL := help
.PHONY: help train-model setup demo check test integration sample survive lint coverage budgets benchmark simulations changelog lock

# ---------------------------------------------------------------------------
# YOUR TRAINING GOES HERE. `retrain check` runs `make train-model` when a
# threshold is breached. Replace the one line below by the command that trains
# your model. It must write the model to $RETRAIN_CHALLENGER, and may leave a
# sample of its training rows (Parquet) at $RETRAIN_REFERENCE.
# ---------------------------------------------------------------------------
train-model:
	$(PYTHON) -m retrain.demo.train

PYTHON := .venv/bin/python
BASE_PYTHON ?= python3
PYTEST = $(PYTHON) -m pytest -n 2 --dist worksteal

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: .venv/.ready ## Make .venv with the locked dependencies

# The lock has hashes; pip refuses anything else. Bytecode and caches stay in .venv.
.venv/.ready: requirements.lock pyproject.toml
	$(BASE_PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "retrain needs Python 3.11 or later; set BASE_PYTHON")'
	$(BASE_PYTHON) -m venv --clear .venv
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

demo: setup ## Run the whole loop on real data in front of you
	$(PYTHON) -m retrain.demo

check: lint ## The loop while editing: lint, and the tests of core, config and tables
	$(PYTEST) -q $(wildcard tests/core tests/config tests/tables)

test: setup ## Run the tests: all but those of tests/integration and tests/survival
	$(PYTEST) -n 3 --ignore=tests/integration --ignore=tests/survival

integration: setup ## Run the tests beside real programs of others, each in an environment of its own
	$(PYTEST) tests/integration

sample: setup ## Run a small sample of the harness: kill, fill, garble and overload it
	$(PYTEST) tests/survival

survive: setup ## The harness at full size (hours; some of it needs root)
	$(PYTHON) -m tests.survival

lint: setup ## ruff, mypy (strict), import-linter
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	.venv/bin/lint-imports

coverage: setup ## Branch coverage of core by its own tests: 100 %, or it fails
	$(PYTEST) -q tests/core --cov --cov-report=term-missing:skip-covered

budgets: setup ## Lines, files and imports of the source beside what they may be
	$(PYTHON) -m tests.budgets

changelog: setup ## Print the changes since the last release, from the fragments in .changes
	$(PYTHON) -m towncrier build --draft --version "$$($(PYTHON) -m hatchling version)"

benchmark: setup ## What it costs beside the least that the same work can cost, and peers (hours)
	$(PYTHON) -m tests.benchmark

simulations: setup ## Print the figures of `retrain guide statistics`, seeded
	$(PYTHON) -m tests.simulations

lock: setup ## Renew requirements.lock
	$(PYTHON) -m uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --group dev \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' pyproject.toml -o requirements.lock
