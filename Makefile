.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# pip speaks up only when something is wrong: what it says of its own version is no news.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
# What runs side by side prints its lines together, where make can do that (macOS has make 3.81).
SYNC := $(and $(filter output-sync,$(.FEATURES)),--output-sync)

.PHONY: help serve test check ruff mypy lint-imports sqlfluff format demo soak bench bench-quick bench-growth bench-live bench-compare explorer screenshot migrate schema released client lock clean

help: ## Show what there is to run
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 14

serve: explorer ## Start the server on a PostgreSQL of its own: http://127.0.0.1:8000/graphql
	@exec $(BIN)/videocredits serve

# Three processes share the tests, each with a PostgreSQL of its own: on two cores, two of them left a third of the time idle.
test: $(VENV)/dev ## Set up, then run every check and every test (.ci/run runs exactly this)
	@$(MAKE) --no-print-directory --jobs=3 $(SYNC) check explorer
	$(BIN)/pytest --numprocesses=3 --dist=worksteal

check: sqlfluff mypy ruff lint-imports ## Lint, types, layers and SQL, without the tests

ruff: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

mypy: $(VENV)/dev
	$(BIN)/mypy
	$(BIN)/mypy clients/python/generate.py

lint-imports: $(VENV)/dev
	$(BIN)/lint-imports

sqlfluff: $(VENV)/dev
	$(BIN)/sqlfluff lint db/queries db/functions db/migrations

format: $(VENV)/dev ## Put code and SQL into the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix --processes 2 db/queries db/functions db/migrations

demo: $(VENV)/run ## Play a day of a hundred users on a throwaway server, then verify every balance (two minutes)
	@exec $(BIN)/videocredits demo

soak: $(VENV)/dev ## The races and the lifecycle model and fault campaigns twenty times over, then a minute under 1,000 hostile connections (an hour)
	$(BIN)/pytest -m soak
	$(BIN)/python -m benchmarks hostile

bench: $(VENV)/dev ## Measure the server beside Mercurius, Yoga, PostGraphile, Strawberry, asyncpg, pgbench (13 minutes)
	$(BIN)/python -m benchmarks

bench-quick: $(VENV)/dev ## Measure it beside Mercurius and pgbench alone, one round (a minute)
	$(BIN)/python -m benchmarks --quick

bench-growth: $(VENV)/dev ## Measure it on 10,000,000 videos and a ledger of 1,000,000 entries (20 GB, half an hour)
	$(BIN)/python -m benchmarks growth

bench-live: $(VENV)/dev ## Measure 5,000 subscribers: memory, delay, slow readers, reconnects, and what is left for mutations
	$(BIN)/python -m benchmarks live

bench-compare: $(VENV)/dev ## Measure it beside another checkout, such as the commit before a change: WITH=../before (5 minutes)
	$(BIN)/python -m benchmarks compare $(WITH)

explorer: $(VENV)/run ## Build GraphiQL's page and the quickstart's, if what they are made of has changed
	@$(BIN)/python explorer/build.py

screenshot: $(VENV)/dev explorer ## Take the README's picture of two windows (needs Chromium)
	$(BIN)/python docs/screenshot.py

migrate: $(VENV)/run ## Bring the database at VIDEOCREDITS_DATABASE_URL up to this code
	@exec $(BIN)/videocredits migrate

schema: $(VENV)/dev ## Print schema.graphql, docs/reference.md, the Python client's types and db/catalog.json again
	$(BIN)/videocredits schema > schema.graphql
	$(BIN)/python docs/reference.py > docs/reference.md
	$(BIN)/python clients/python/generate.py
	$(BIN)/python -m tests.print_catalog > .catalog && mv .catalog db/catalog.json

client: ## Build the client in TypeScript (needs npm)
	cd clients/typescript && npm ci --ignore-scripts --no-audit --no-fund && npm run build

released: ## Keep schema.graphql as that of the changelog's last release, which later changes are compared with
	@grep -m1 -oE '^## \[[0-9][^]]*' CHANGELOG.md | sed 's/^## \[/# Released as /' | cat - schema.graphql > docs/released.graphql

lock: $(VENV)/dev ## Resolve the dependencies again
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --custom-compile-command 'make lock' --group build -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --upgrade --custom-compile-command 'make lock' --group build --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean: ## Remove the environment and what was built (data directories stay)
	rm -rf $(VENV) explorer/node_modules server/pages/built

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# `make serve` installs what runs, `make test` what develops; each is redone when its lock changes. The second includes the first.
$(VENV)/run: requirements.lock pyproject.toml | $(VENV)/bin/python
	@test -e $(VENV)/dev || { echo "Installing the pinned dependencies (once, about a minute) …"; $(PIP) install --require-hashes -r requirements.lock; }
	@$(PIP) install --no-deps --no-build-isolation --no-index -e .
	@touch $@

$(VENV)/dev: requirements-dev.lock pyproject.toml clients/python/pyproject.toml | $(VENV)/bin/python
	@echo "Installing the pinned dependencies and tools (once, about two minutes) …"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index -e . -e clients/python
	@touch $(VENV)/run $@
