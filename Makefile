# Two commands do all the set-up they need: `make demo` and `make test`.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
RUN_DIR ?= .run

.PHONY: help demo up down test faults compose-test check bench bench-quick policy lint format lock native clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The environment is made again whenever the lock changes. Hashes are required; nothing else is installed.
$(BIN)/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "extauthz needs Python 3.11 or newer; set PYTHON=" >&2; exit 1; }
	@echo "» virtual environment .venv (hash-pinned packages)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

native: $(BIN)/.ready ## Build OPA (tool and C library) once, from its pinned Go module
	@$(BIN)/python native/build.py --if-missing

demo: native ## Run the wire-transfer flow on real Envoys, and 20+ attempts that must fail (ARGS='--json')
	@$(BIN)/extauthz demo $(ARGS)

up: native ## Start the demo platform and leave it running until `make down` or Ctrl-C
	@$(BIN)/extauthz demo --keep $(ARGS)

down: ## Stop what `make up` started in another terminal
	@$(BIN)/extauthz demo --down

test: native ## Run every test (installs Redis and npm's oidc-provider where it can)
	@$(BIN)/python -m tests.support.install
	@$(BIN)/python -m pytest $(ARGS)

faults: native ## Break every part under load and print what callers got (ARGS='--core', '--only NAME', '--json')
	@$(BIN)/python -m tests.faults $(ARGS)

compose-test: native ## Bring up docker-compose.yml and prove it: scenarios, isolation, faults (needs a Docker engine)
	@$(BIN)/python -m tests.compose $(ARGS)

lint: $(BIN)/.ready ## Format check, lint, types, import rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(BIN)/.ready ## Format Python and Rego
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

policy: native ## Format, check and test the Rego policies (coverage 95 %)
	@$(BIN)/python policies/check.py

check: lint policy ## Everything that is not a test: lint, types, imports, policies

bench: native ## Compare transports and caches through one Envoy; writes bench/results/latest.json
	@$(BIN)/python -m bench $(ARGS)

bench-quick: native ## The same in under three minutes
	@$(BIN)/python -m bench --quick $(ARGS)

lock: $(BIN)/.ready ## Resolve dependencies again (hashes, no index URLs)
	@$(BIN)/uv pip compile pyproject.toml --group dev --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --quiet -o requirements.lock
	@$(BIN)/uv pip compile pyproject.toml -c requirements.lock --generate-hashes --universal --python-version 3.11 \
	  --no-emit-index-url --no-header --quiet -o deploy/requirements.lock

clean: ## Remove what builds and tests left here (the OPA cache stays)
	@rm -rf .venv .run .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage dist *.egg-info
