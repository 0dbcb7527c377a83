# Two commands matter: `make up` and `make test`. Everything they need is installed on the way.
SHELL := /bin/bash
.DEFAULT_GOAL := help
UV := $(shell uv --version >/dev/null 2>&1 && command -v uv || echo .tools/bin/uv)
BIN := .venv/bin
INSTALLED := .venv/.installed
PAGES := .venv/.pages
PACKAGES := desk actors serve_apps tune_configs bingx_sim

.PHONY: help setup up down test nightly soak mutants check bench clean lock format screenshots wheel

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20

setup: $(INSTALLED) $(PAGES) ## install Python packages and the pages' third-party files

up: setup ## start everything, backfill, start a paper run, print the address
	@$(BIN)/desk up

down: ## end every process that `make up` started
	@test -x $(BIN)/desk && $(BIN)/desk down || echo "nothing is installed here, so nothing runs"

test: setup ## the whole suite
	$(BIN)/python -m pytest

nightly: setup ## the long tests: 100,000 storms, 250 kills of the store, 30 of each trading actor, 100,000 requests, every drill, nodes that die and hang, what is learnt over five seeds
	$(BIN)/python -m pytest -m nightly

soak: setup ## an hour of accelerated trading under random kills and faults, every order followed; `make soak MINUTES=10` for less
	$(BIN)/python -m tests.soak.run --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

mutants: setup ## plant faults in the core of orders, ledger and store: the tests must notice
	$(BIN)/python -m tests.mutants.run

check: setup ## formatting, lint, types, import contracts, spelling, generated docs, secrets, known weaknesses
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/basedpyright --level error
	$(BIN)/basedpyright --level error -p tests/pyrightconfig.json
	$(BIN)/lint-imports
	$(BIN)/codespell $(PACKAGES) tests bench docs README.md CHANGELOG.md
	$(BIN)/python -m desk.cli.settings_page --check docs/settings.md
	$(BIN)/python -m tests.audits.secrets
	$(BIN)/python -m tests.audits.dependencies

bench: setup ## one table of measured ratios, and bench/results/*.json; `ONLY=api` for one of them, `KEEP=1` for docs/performance.md
	UV=$(abspath $(UV)) $(BIN)/python -m bench $(ONLY) $(if $(KEEP),--keep; met=$$?; $(BIN)/python -m docs.performance; exit $$met)

screenshots: setup ## screenshots of the running pages into docs/images
	$(BIN)/python docs/screenshots.py

format: setup ## format and sort imports
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

wheel: setup ## build the wheel that the nodes of a cluster install, into dist/
	$(UV) build --quiet --wheel --out-dir dist --clear .

lock: $(UV) ## pin every dependency anew
	$(UV) pip compile --universal --generate-hashes --no-header --group dev -p 3.12 pyproject.toml -o requirements.lock

clean: ## remove what the build made (not DESK_HOME)
	rm -rf .venv .tools build dist bench/results tests/artifacts
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml serve_apps/ui/package-lock.json | $(UV)
	$(UV) venv --quiet --python 3.12 --allow-existing .venv
	$(UV) pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	UV=$(abspath $(UV)) $(BIN)/python -m serve_apps.ui.vendor
	@touch $@

$(PAGES): $(INSTALLED) $(wildcard serve_apps/ui/app/*.js serve_apps/ui/app/*/*.js) serve_apps/ui/bundle.py
	$(BIN)/python -m serve_apps.ui.bundle
	@touch $@

.tools/bin/uv:
	python3 -m venv .tools
	.tools/bin/pip install --quiet --disable-pip-version-check uv
