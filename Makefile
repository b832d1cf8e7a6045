# Two commands from a fresh machine: `make demo` and `make test`. Both make .venv from pyproject.toml.
.DEFAULT_GOAL := help
.PHONY: help demo test test-integrations test-engines test-all test-all-faults test-long test-cpython test-wasm lint docs notebooks bench bench-full clean

# The newest interpreter that really runs (a version manager's shim may exist and still refuse) and is new enough.
PYTHON ?= $(shell for p in python3 python python3.13 python3.12 python3.11; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

help:
	@echo "make demo      tokenise the standard library with and without amorsize"
	@echo "make test      everything that gates: ruff, mypy, import-linter, pytest"
	@echo "make test-all  the tests under every Python that is found (PYTHONS=\"python3.11 ...\")"
	@echo "make test-long 1,000 simulated runs of the schedule, hundreds of deaths and kills (two minutes)"
	@echo "make test-integrations  the tests that need joblib, scikit-learn, pandas and others, against the real packages"
	@echo "make test-engines  the tests that need Dask, Ray, Parsl, MPI, loky or executorlib, against the real packages"
	@echo "make test-cpython  CPython's own tests of executors and pools, against amorsize's, where the interpreter ships them"
	@echo "make test-wasm    CPython 3.14 as WebAssembly, where Node.js and npm are installed"
	@echo "make docs      the site of docs/, in site/; fails at a link that leads nowhere"
	@echo "make notebooks  the notebooks of examples/, run from top to bottom"
	@echo "make bench     the benchmark: every workload, two or three rounds (some 13 minutes; nothing else may run beside it)"
	@echo "make bench-full  the same with five rounds, and a grid of fixed settings as the oracle (half an hour)"
	@echo "make clean     remove .venv and caches"

$(VENV)/.run: pyproject.toml
	@test -n "$(PYTHON)" || { echo "amorsize needs Python 3.11 or newer with venv; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.run
	$(BIN)/python examples/demo.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Side by side, more at once than there are cores, because many tests wait for processes; then, in one process, those
# that want the machine alone. Fails if one of the two does.
SIDE_BY_SIDE ?= 5
# What needs other packages has a lane of its own.
LOCAL := --ignore=tests/integrations
# Compiled first: hundreds of programs and workers import amorsize, also where PYTHONDONTWRITEBYTECODE is set.
two-passes = $(1) -m compileall -q amorsize tests benchmarks; $(1) -m pytest -n $(SIDE_BY_SIDE) --dist loadgroup -m "not alone" $(LOCAL); side=$$?; \
	$(1) -m pytest -m alone $(LOCAL) && exit $$side

test: lint
	$(call two-passes,$(BIN)/python)

# The tests that need other packages (joblib, scikit-learn, pandas, pyright, ...), in an environment of their own.
test-integrations: $(VENV)/.run
	@test -x .venvs/integrations/bin/python || $(PYTHON) -m venv .venvs/integrations
	.venvs/integrations/bin/python -m pip install --quiet --disable-pip-version-check -e '.[integrations]'
	.venvs/integrations/bin/python -m pytest tests/integrations

# The tests that need clusters (Dask, Ray, Parsl, MPI) and other packages' executors; each engine is started once.
test-engines: $(VENV)/.run
	@test -x .venvs/engines/bin/python || $(PYTHON) -m venv .venvs/engines
	.venvs/engines/bin/python -m pip install --quiet --disable-pip-version-check -e '.[engines]'
	.venvs/engines/bin/python -m pytest tests/integrations/engines

PYTHONS ?= python3.11 python3.12 python3.13
test-all: lint
	@for p in $(PYTHONS); do \
		v=.venvs/$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1; \
		test -x $$v/bin/python || $$p -m venv $$v || exit 1; \
		$$v/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,plot,progress]' || exit 1; \
		echo "== $$($$v/bin/python -VV)"; ($(call two-passes,$$v/bin/python)) || exit 1; done

# Hours. Each driver stops at its fifth failure and prints the line that repeats it.
test-long: $(VENV)/.dev test-all-faults
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=search $(LOCAL)
	AMORSIZE_SIMULATED_RUNS=1000 $(BIN)/python -m pytest tests/schedule/test_schedule.py -k long_runs
	AMORSIZE_LONG=1 $(BIN)/python -m pytest tests/backends tests/checkpoint tests/history tests/schedule \
		-k "hundreds_in_one_run or killed_at_any_instant or a_crowd_of_processes or TestCalls or ScheduleMachine"

	$(BIN)/python -m tests.breaking.decisions --runs 5000
	AMORSIZE_LONG=1 $(BIN)/python -m tests.breaking.interrupts --runs 4000
	$(BIN)/python -m tests.breaking.lines --runs 1000
	$(BIN)/python -m tests.breaking.kills --runs 500
	$(BIN)/python -m tests.breaking.hostile --runs 200
	$(BIN)/python -m tests.breaking.files --runs 500
	$(BIN)/python -m tests.breaking.streams --runs 1000
	$(BIN)/python -m tests.breaking.pools --runs 500
	$(BIN)/python -m tests.breaking.soak --runs 5000

test-all-faults:
	@for p in $(PYTHONS); do \
		v=.venvs/$$($$p -c 'import sys; print("%d.%d" % sys.version_info[:2])') || exit 1; \
		test -x $$v/bin/python || $$p -m venv $$v || exit 1; \
		$$v/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test,plot,progress]' || exit 1; \
		echo "== $$($$v/bin/python -VV)"; $$v/bin/python -m tests.breaking.faults --runs 3000 || exit 1; done

test-cpython: $(VENV)/.dev
	AMORSIZE_CPYTHON_TESTS=1 $(BIN)/python -m pytest tests/executor -k cpython

# CPython compiled to WebAssembly has neither processes nor threads. npm's package holds the interpreter; the packages
# that amorsize needs there are pure Python, and copied from the environment.
PYODIDE ?= pyodide@314.0.7
WASM := .venvs/wasm
test-wasm: $(VENV)/.dev
	@if ! { command -v node && command -v npm; } >/dev/null; then \
		echo "test-wasm: skipped, since Node.js or npm is not installed"; exit 0; fi; \
	mkdir -p $(WASM)/site; \
	npm install --silent --no-audit --no-fund --prefix $(WASM) $(PYODIDE) >/dev/null 2>&1 \
		|| { echo "test-wasm: skipped, since npm cannot install $(PYODIDE)"; exit 0; }; \
	$(BIN)/python -c "import cloudpickle, platformdirs, shutil, os; [shutil.copytree(os.path.dirname(m.__file__), \
		'$(WASM)/site/' + m.__name__, dirs_exist_ok=True) for m in (cloudpickle, platformdirs)]" && \
	node tests/wasm/run.mjs $(WASM)/node_modules/pyodide . $(WASM)/site

# $(call lane,EXTRA,COMMANDS): runs the commands in an environment of its own, .venvs/EXTRA. If the packages of the extra
# cannot be installed (where the package index is out of reach), it says so in one line, and does not fail.
lane = @v=.venvs/$(1); test -n "$(PYTHON)" && mkdir -p $$v && { test $$v/.ready -nt pyproject.toml || { \
	{ test -x $$v/bin/python || $(PYTHON) -m venv $$v; } \
	&& $$v/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --retries 1 -e '.[$(1)]' && touch $$v/.ready; \
	} >$$v/install.log 2>&1; } || { echo "make $@: left out, since its packages cannot be installed: $$v/install.log"; exit 0; }; \
	$(2)

# The reference is made from the docstrings.
docs:
	$(call lane,docs,NO_MKDOCS_2_WARNING=1 $$v/bin/python -m mkdocs build --strict)

notebooks:
	$(call lane,notebooks,$$v/bin/python -m pytest tests/integrations/test_notebooks.py)

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks run --brief
	$(BIN)/python -m benchmarks table

bench-full: $(VENV)/.dev
	$(BIN)/python -m benchmarks run --grid
	$(BIN)/python -m benchmarks table

clean:
	rm -rf .venv .venvs site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
