# Each target does its own set-up in a virtual environment, and a second call reuses it.
# All it takes is Python 3.11 or later, and make.

.DEFAULT_GOAL := help
.PHONY: help run dev test test-unit rehearse bench bench-quick lint parse lock lock-peers schema clean

# The version of dbt: 1.11 (requirements*.txt) or 1.10 (an environment of its own).
DBT ?= 1.11
ifeq ($(DBT),1.11)
  VENV ?= .venv
  REQUIREMENTS := requirements.txt
  REQUIREMENTS_DEV := requirements-dev.txt
else
  VENV ?= .venv-dbt-$(DBT)
  REQUIREMENTS := requirements-dev-dbt-$(DBT).txt
  REQUIREMENTS_DEV := $(REQUIREMENTS)
endif
ifeq ($(wildcard $(REQUIREMENTS_DEV)),)
  $(error DBT=$(DBT): there is no $(REQUIREMENTS_DEV); known are DBT=1.11 and DBT=1.10)
endif
BIN := $(VENV)/bin
RUN := $(VENV)/.installed-run
DEV := $(VENV)/.installed-dev

# What a call may say: make run TENANT=acme, make test PYTEST_ARGS='-k key', make dev ARGS='--port 3001'
TENANT ?=
ARGS ?=
PYTEST_ARGS ?=
LOCK_ARGS ?=

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' Makefile

run: $(RUN) ## Build the williamgrant tenant (or TENANT=name) through Dagster, on DuckDB unless DBT_TARGET says otherwise
	$(BIN)/apollo build $(or $(TENANT),williamgrant) $(ARGS)

dev: $(RUN) ## Open Dagster's UI
	$(BIN)/apollo dev $(ARGS)

test: $(DEV) ## Run all tests (PYTEST_ARGS='...'; DBT=1.10 for the older dbt)
	@scripts/install-test-tools
	$(BIN)/python -m pytest $(PYTEST_ARGS)

test-unit: $(DEV) ## Run the tests that take milliseconds
	$(BIN)/python -m pytest -m unit $(PYTEST_ARGS)

rehearse: $(DEV) ## Deploy render.yaml on this machine and use it in a browser, as production would be
	@scripts/install-test-tools
	APOLLO_REQUIRE_ALL=1 $(BIN)/python -m pytest tests/rehearsal tests/integration/test_tenant_servers.py -s $(PYTEST_ARGS)

bench: $(DEV) ## Measure Apollo against bare dbt, stock Dagster and others (ARGS='--only run-100' for one row)
	$(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(DEV) ## The same with small projects
	$(BIN)/python -m benchmarks --quick $(ARGS)

lint: $(DEV) ## Check style, types, workflows, deployments and requirements
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	for tenant in $(dir $(wildcard tenants/*/generate.py)); do \
	    (cd $$tenant && $(abspath $(BIN))/mypy --strict --cache-dir ../../.mypy_cache generate.py) || exit; done
	$(BIN)/zizmor --offline --pedantic --quiet .github
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.dependabot .github/dependabot.yml
	$(BIN)/check-jsonschema --schemafile dagster_apollo/apollo.schema.json $(wildcard tenants/*/apollo.yml) dagster_apollo/scaffold/project/apollo.yml
	scripts/lint-deploy $(VENV)
	@if grep -nE '://|^-|index-url|find-links' requirements*.txt benchmarks/peers/*/requirements.txt; then echo "Requirements name no index and no address."; exit 1; fi

parse: $(RUN) ## Run dbt deps and dbt parse for every tenant (or TENANT=name), without a warehouse
	@scripts/parse $(VENV) $(if $(TENANT),'$(TENANT)')

# One resolution for all: the runtime and the older dbt take what the newer one does not change.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras \
    --no-annotate --no-emit-index-url --custom-compile-command "make lock" $(LOCK_ARGS) pyproject.toml --extra build
lock: $(DEV) ## Recompile requirements*.txt from pyproject.toml (LOCK_ARGS=--upgrade for new versions)
	$(COMPILE) --extra dev --output-file requirements-dev.txt
	$(COMPILE) --constraints requirements-dev.txt --output-file requirements.txt
	printf 'dbt-core<1.11\ndbt-snowflake<1.11\n' | $(COMPILE) - --extra dev --output-file requirements-dev-dbt-1.10.txt
	for minor in 10 11; do \
	    printf "dbt-core>=1.$$minor,<1.$$((minor + 1))\ndbt-duckdb\n" | $(BIN)/uv pip compile --quiet --universal \
	        --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url --custom-compile-command "make lock" \
	        $(LOCK_ARGS) - --output-file tests/projects/own_environment/requirements-dbt-1.$$minor.txt || exit; done

lock-peers: $(DEV) ## Recompile the requirements of those that the benchmarks compare with
	for peer in prefect cosmos; do \
	    $(BIN)/uv pip compile --quiet --python-version 3.11 --generate-hashes --no-annotate --no-emit-index-url \
	        --custom-compile-command "make lock-peers" $(LOCK_ARGS) benchmarks/peers/$$peer/requirements.in \
	        --output-file benchmarks/peers/$$peer/requirements.txt || exit; done

schema: $(DEV) ## Write the JSON schema of apollo.yml anew from its model
	$(BIN)/python -m dagster_apollo.config_schema

clean: ## Remove environments and caches; the instance (.dagster) and .env stay
	rm -rf .venv .venv-dbt-* .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

# pip (in scripts/install) checks every file against its hash; the stamps are written last.
$(RUN): $(REQUIREMENTS) pyproject.toml
	@scripts/install $(VENV) $(REQUIREMENTS) .installed-run

$(DEV): $(REQUIREMENTS_DEV) pyproject.toml
	@scripts/install $(VENV) $(REQUIREMENTS_DEV) .installed-run .installed-dev
