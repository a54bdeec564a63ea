# make demo | up | test | check | bench | fmt | lock
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?= python3

.PHONY: demo up test check style types structure security bench fmt lock
.SILENT: $(VENV)/ready $(VENV)/ready-dev

demo: $(VENV)/ready  ## start the service and run a first job; EXIT=1 ends afterwards
	@$(BIN)/python -m service demo $(if $(EXIT),--exit)

up: $(VENV)/ready  ## start the service
	@$(BIN)/python -m service

test: $(VENV)/ready-dev  ## all tests, on two cores; ARGS="-k name" for some
	$(BIN)/python -m pytest -n 2 $(ARGS)

check: $(VENV)/ready-dev  ## style, types, structure, known vulnerabilities; two at a time
	@$(MAKE) --no-print-directory -j 2 types style structure security

types: $(VENV)/ready-dev
	$(BIN)/pyright

style: $(VENV)/ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

structure: $(VENV)/ready-dev
	$(BIN)/lint-imports

security: $(VENV)/ready-dev
	$(BIN)/bandit -q -r -c pyproject.toml admin api client pruning service store worker
	$(BIN)/python .ci/audit.py requirements.lock

bench: $(VENV)/ready-dev  ## the short benchmarks; benchmarks/README.md names the long ones
	$(BIN)/python -m benchmarks.admm_step
	$(BIN)/python -m benchmarks.api_latency
	$(BIN)/python -m benchmarks.upload
	$(BIN)/python -m benchmarks.lenet5_http

fmt: $(VENV)/ready-dev
	$(BIN)/python client/generate.py
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:  ## pin anew: fresh environments, what pip finds today
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies']))" > $(VENV)-lock/direct
	$(VENV)-lock/bin/pip install -q torch==2.13.0 -r $(VENV)-lock/direct
	$(VENV)-lock/bin/pip freeze | sed 's/+cpu$$//' > requirements.lock
	$(VENV)-lock/bin/python -c "import tomllib; print('\n'.join(tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['dev']))" > $(VENV)-lock/dev
	$(VENV)-lock/bin/pip install -q -r $(VENV)-lock/dev
	$(VENV)-lock/bin/pip freeze | sed 's/+cpu$$//' | grep -vxFf requirements.lock > requirements-dev.lock
	rm -rf $(VENV)-lock

$(VENV)/ready: requirements.lock pyproject.toml client/pyproject.toml
	echo "installing into $(VENV) (about a minute, 1.2 GB) ..."
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install -q --disable-pip-version-check --no-deps -e . -e client
	touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.lock
	$(BIN)/pip install -q --disable-pip-version-check -r requirements-dev.lock
	touch $@
