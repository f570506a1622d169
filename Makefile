# Every command of the project, for people and for CI alike.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
# The git ref of the release in production. Nothing has been deployed yet; after the first deployment, which sets the
# tag `deployed`, this must say `deployed`: `make lint` insists.
DEPLOYED ?= none

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show this list
	@awk 'BEGIN {FS = ":.*  ## "} /^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*  ## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; '$(PYTHON)' is older. Name another: make PYTHON=python3.13 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
		|| { rm -rf $(VENV); echo "The virtual environment could not be made; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.test: requirements/test.txt | $(BIN)/python
	@$(BIN)/python .ci/install $<
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(BIN)/python
	@$(BIN)/python .ci/install $<
	@touch $@ $(VENV)/.test

$(VENV)/.browser: requirements/browser.txt | $(BIN)/python
	@$(BIN)/python .ci/install $<
	$(BIN)/python -m tests.browser.chromium
	@touch $@ $(VENV)/.test

##@ Run

.PHONY: run
run: $(VENV)/.test  ## Migrate and serve on PORT (8000), with an embedded PostgreSQL under .data/
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m rupaya.localdb run ./entrypoint.sh gunicorn rupaya.wsgi

.PHONY: demo
demo: $(VENV)/.test  ## As run, with 2,000 made-up people, and accounts to look at them with; or fill what already runs
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m bench.demo

.PHONY: manage
manage: $(VENV)/.test  ## Run a management command: make manage ARGS="showmigrations"
	@$(BIN)/python manage.py $(ARGS)

.PHONY: psql
psql: $(VENV)/.test  ## Open psql on the database that manage.py uses
	@$(BIN)/python -m rupaya.localdb psql $(ARGS)

.PHONY: clean
clean:  ## Remove the virtual environment, caches, and the development database WITH ITS DATA
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m rupaya.localdb clean; fi
	rm -rf $(VENV) .data staticfiles .coverage .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

##@ Change

.PHONY: format
format: $(VENV)/.dev  ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: lint
lint: $(VENV)/.dev  ## Check style, types, imports, shell, Dockerfile and migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/shellcheck entrypoint.sh .ci/run
	$(BIN)/hadolint Dockerfile
	$(BIN)/bandit --quiet --configfile pyproject.toml --severity-level medium --recursive rupaya accounts transactions manage.py gunicorn.conf.py
	$(BIN)/python .ci/audit
	$(BIN)/python -m rupaya.scratchdb $(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python -m rupaya.scratchdb --superuser $(BIN)/python manage.py lintmigrations --base $(DEPLOYED)

.PHONY: schema
schema: $(VENV)/.test  ## Rewrite schema.sql, what migrations presume of rows and what packages bring, after a change of either
	@RUPAYA_ENV=test $(BIN)/python -m rupaya.scratchdb $(BIN)/python manage.py schemasql --write schema.sql
	@RUPAYA_ENV=test $(BIN)/python -m rupaya.scratchdb $(BIN)/python manage.py presumptions --write rupaya/presumptions.json
	@$(BIN)/python manage.py lintmigrations --write-installed

.PHONY: lock
lock: $(VENV)/.dev  ## Compile requirements/*.in into hashed .txt files (UPGRADE=1 for newer releases)
	@for name in base production test browser dev infra deploy mutation projects; do \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
			--no-strip-extras --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) -o requirements/$$name.txt requirements/$$name.in \
			|| exit 1; \
	done
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url \
		--no-strip-extras --custom-compile-command "make lock" $(if $(UPGRADE),--upgrade) --override requirements/newest.in \
		-o requirements/newest.txt requirements/test.in

.PHONY: screenshots
screenshots: $(VENV)/.browser  ## Rewrite docs/images/, the admin site's pages with people in it who do not exist
	$(BIN)/python -m pytest --quiet -m browser tests/browser/screenshots.py

##@ Test

.PHONY: test
test: $(VENV)/.test  ## Run the test suite, but for what takes long; ARGS="-k name" to choose
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

.PHONY: slow-test
slow-test: $(VENV)/.test  ## Run those tests of the suite that take more than some seconds each
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow $(ARGS)

.PHONY: coverage
coverage: $(VENV)/.test  ## As test and slow-test, and measure which lines and branches they reach
	$(BIN)/python -m pytest -n 2 --dist worksteal -m 'slow or not (image or infra or rollout or browser or debts or attic or authoring)' --cov --cov-report=term:skip-covered $(ARGS)

.PHONY: migrate-test
migrate-test: $(VENV)/.test  ## Migrate from nothing, back to nothing and forward again; show how long each takes
	@DJANGO_SETTINGS_MODULE=rupaya.settings RUPAYA_ENV=test $(BIN)/python -m rupaya.scratchdb $(BIN)/python -m tests.roundtrip

.PHONY: gate-test
gate-test: $(VENV)/.test  ## Try the migration gate on changes whose safety is known; ARGS="add_index" to choose and explain
	RUPAYA_ENV=test $(BIN)/python -m tests.migrator.gate $(ARGS)

.PHONY: authoring-test
authoring-test: $(VENV)/.test  ## Let makemigrations write each kind of change, and live through it under traffic
	$(BIN)/python -m pytest --no-cov -n 2 --dist worksteal -m authoring tests/migrator/authoring $(ARGS)

.PHONY: debts-test
debts-test: $(VENV)/.test  ## Try every change that is done by halves, alone and in bundles, while both releases' code is at work
	$(BIN)/python -m pytest --no-cov -n 2 --dist worksteal -m debts tests/migrator tests/server $(ARGS)

.PHONY: attic-test
attic-test: $(VENV)/.test  ## Put a million rows away and bring them back under traffic; kill both at every step
	$(BIN)/python -m pytest --no-cov -s -m attic tests/attic $(ARGS)

.PHONY: browser-test
browser-test: $(VENV)/.browser  ## Test the admin site in Chromium: the system's, or one that Playwright downloads
	$(BIN)/python -m pytest -n 2 --dist worksteal -m browser tests/browser $(ARGS)

.PHONY: image-test
image-test: $(VENV)/.test  ## Build the production image and test it from outside, with docker or podman
	$(BIN)/python -m pytest -m image tests/image $(ARGS)

# An environment of its own: these tools pin versions that would hold back the others.
$(VENV)/infra/.done: requirements/infra.txt | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/infra
	@$(VENV)/infra/bin/python .ci/install $<
	@touch $@

.PHONY: infra-test
infra-test: $(VENV)/infra/.done  ## Test Terraform, workflows and the deployment, against AWS on loopback
	PATH="$(CURDIR)/$(VENV)/infra/bin:$$PATH" $(VENV)/infra/bin/python -m pytest -m infra tests/infra $(ARGS)

##@ Test against others

.PHONY: django-test
django-test: $(VENV)/.test  ## Run Django's own tests of migrate, makemigrations and showmigrations with ours in their place
	RUPAYA_ENV=test $(BIN)/python -m tests.djangosuite $(ARGS)

# An environment of its own: Django's next line needs Python 3.12, and this project serves with the long-term one.
$(VENV)/newest/.done: requirements/newest.txt | $(BIN)/python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' \
		|| { echo "The newest Django needs Python 3.12; '$(PYTHON)' is older. Name another: make newest-test PYTHON=python3.13" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)/newest
	@$(VENV)/newest/bin/python .ci/install $<
	@touch $@

.PHONY: newest-test
newest-test: $(VENV)/newest/.done  ## Run the suite, and Django's own tests of migrate, on the newest Django
	PYTHONWARNINGS=error::DeprecationWarning,error::PendingDeprecationWarning \
		$(VENV)/newest/bin/python -m pytest -n 2 --dist worksteal $(ARGS)
	RUPAYA_ENV=test $(VENV)/newest/bin/python -m tests.djangosuite

# Likewise: well-known projects pin versions of their own.
$(VENV)/projects/.done: requirements/projects.txt | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/projects
	@$(VENV)/projects/bin/python .ci/install $<
	@touch $@

.PHONY: projects-test
projects-test: $(VENV)/projects/.done  ## Migrate well-known projects beside stock Django; ARGS="cms" to choose; HEALTHCHECKS=folder of its source
	RUPAYA_ENV=test $(VENV)/projects/bin/python -m tests.projects $(ARGS)

##@ Rehearse and measure

.PHONY: boring
boring: $(VENV)/.test  ## Start twenty migrators at once, again and again (ROUNDS=10), until it is boring
	RUPAYA_FAULT_ROUNDS=$(or $(ROUNDS),10) $(BIN)/python -m pytest tests/faults/test_simultaneous.py $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.test  ## Kill, freeze, cut off and meddle with migrators at random; ROUNDS=300, SEED=1, ARGS="100007" for one round
	RUPAYA_ENV=test ROUNDS=$(ROUNDS) SEED=$(SEED) $(BIN)/python -m tests.chaos $(ARGS)

.PHONY: herd
herd: $(VENV)/.test  ## Start STARTS (1000) tasks within a minute on a server with ten connections to spare, AT_ONCE (100) at once
	RUPAYA_ENV=test STARTS=$(STARTS) AT_ONCE=$(AT_ONCE) $(BIN)/python -m tests.herd

.PHONY: soak
soak: $(VENV)/.test  ## Load and 40 slow clients on the real stack for SOAK_S (300) seconds, its database restarted in the middle
	RUPAYA_ENV=test $(BIN)/python -m tests.soak $(SOAK_S)

# An environment of its own: nothing else has a use for its tools.
$(VENV)/mutation/.done: requirements/mutation.txt | $(BIN)/python
	$(BIN)/python -m venv $(VENV)/mutation
	@$(VENV)/mutation/bin/python .ci/install $<
	@touch $@

.PHONY: mutation-test
mutation-test: $(VENV)/mutation/.done $(VENV)/.dev  ## Change the migrator in SAMPLE (300) small ways, one at a time, and see whether a test notices
	RUPAYA_ENV=test MYPY=$(abspath $(BIN))/mypy SAMPLE=$(SAMPLE) SEED=$(SEED) AT_MOST_S=$(AT_MOST_S) \
		$(VENV)/mutation/bin/python -m tests.mutation

.PHONY: rollout-rehearsal
rollout-rehearsal: $(VENV)/.test  ## Roll releases out behind haproxy under load, with docker or podman, and report
	$(BIN)/python -m pytest -s -m rollout tests/rollout $(ARGS)

.PHONY: adoption-rehearsal
adoption-rehearsal: $(VENV)/.test  ## Take over a database of ADOPTION_ROWS (1000000) transactions under traffic, and report
	ADOPTION_ROWS=$(or $(ADOPTION_ROWS),1000000) $(BIN)/python -m pytest --no-cov -s -o timeout=0 -m slow tests/adoption/test_traffic.py $(ARGS)

.PHONY: bench
bench: $(VENV)/.test  ## Measure migrate beside stock Django and Knex; BENCH="noop stall" to choose, BENCH_RUNS=3 to shorten
	$(BIN)/python -m bench $(BENCH)
