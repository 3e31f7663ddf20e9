# `make demo` and `make test` need nothing but Python >= 3.11, pip and a C++ compiler.
EXTRA ?= cpu
PYTHON_IN_VENV := .venv/bin/python
TWO_AT_A_TIME := --numprocesses 2 --dist loadfile --no-loadscope-reorder
FAULTS := -m row --fault-table=docs/reliability.md --fault-seen=.venv/faults.json
export TORCH_EXTENSIONS_DIR := $(CURDIR)/.venv/torch_extensions

NAME ?=

.PHONY: setup demo test long bench check lint fast faults audit format docs page lock clean

setup: ## the virtual environment, with every package of requirements/$(EXTRA).lock
	@requirements/setup.sh $(EXTRA)

demo: setup ## train the made model on this machine and show before and after
	@.venv/bin/laconic demo

test: setup ## all but what takes minutes each, on real parts; two files at a time but for what is sensitive to load
	@$(PYTHON_IN_VENV) -m pytest $(TWO_AT_A_TIME) tests/integration tests/gpu tests/browser tests/unit
	@$(PYTHON_IN_VENV) -m pytest tests/faults

long: setup ## the tests that take minutes each and prove what shorter ones cannot
	@$(PYTHON_IN_VENV) -m pytest -m long

bench: setup ## short benchmarks against the kept results, within an hour; NAME=whole_loop: that one
	@$(PYTHON_IN_VENV) -m benchmarks $(NAME)

fast: setup ## tests of logic only: no Ray, no engine
	@$(PYTHON_IN_VENV) -m pytest -q $(TWO_AT_A_TIME) tests/unit

check: lint fast ## what every commit must pass

lint: setup ## format, lint, types, import contracts, known holes in the locks
	@.venv/bin/ruff format --check .
	@.venv/bin/ruff check .
	@PYTHONPATH=. .venv/bin/lint-imports
	@.venv/bin/pyright
	@$(PYTHON_IN_VENV) -m requirements.audit

faults: setup ## the fault suite, and its table in docs/reliability.md
	@rm -f .venv/faults.json
	@$(PYTHON_IN_VENV) -m pytest $(TWO_AT_A_TIME) $(FAULTS) tests/integration tests/unit; first=$$?; \
	  $(PYTHON_IN_VENV) -m pytest $(FAULTS) tests/faults && exit $$first

audit: setup ## known holes in the lock, by our table and by the public advisories (a network)
	@$(PYTHON_IN_VENV) -m requirements.audit
	@grep == requirements/$(EXTRA).lock | sed 's/+cpu//' > .venv/audit.txt
	@.venv/bin/uvx pip-audit --strict --no-deps --disable-pip --requirement .venv/audit.txt

format: setup
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

docs: setup ## the page that is made from the schema
	@$(PYTHON_IN_VENV) -m configs.describe > docs/configuration.md

page: ## the dashboard's page, from dashboard/web (Node 20.19 or newer); commit what it writes
	@cd dashboard/web && npm ci --silent && npm run check && npm test && npm run build

lock: setup ## resolve pyproject.toml anew
	@requirements/lock.sh

clean: ## what set-up and tests made here; the models stay in the user's cache
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache
