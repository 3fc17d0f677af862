# Everything starts from Python and pip: each target makes the environment it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test lint docs browser bench lock clean

# Packages are compiled as they are imported, each once: to compile all takes longer than to install.
unexport PYTHONDONTWRITEBYTECODE

# Threads that wait for each other crawl when another process takes a core.
test bench: export OMP_NUM_THREADS = 1
# Thousands of small databases: in memory where there is a folder for that, a commit waits for no disk.
test: export TMPDIR := $(shell test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp})

demo: $(VENV)/.installed  ## learn personas on the sample with the embedded LM
	$(BIN)/personaagent demo

# Three processes on two cores: many tests wait for a server, a clock or a process that was killed.
test: $(VENV)/.installed  ## all tests; those of the embedded LM, and of a Ray cluster, in one process
	$(BIN)/python -m pytest -n 3 --dist loadgroup

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.installed  ## the site, in build/site; a link that leads nowhere is an error
	$(BIN)/mkdocs build --strict

browser: $(VENV)/.installed  ## headless Chromium from npm, in build/, for the tests of the page
	$(BIN)/python tests/server/page/chromium.py build/chromium

bench: $(VENV)/.installed  ## speed, as ratios in one run
	$(BIN)/python -m benchmarks

lock: $(VENV)/.installed  ## write down the versions of this environment
	(echo "# Made by 'make lock': the versions that the checks last passed with, on Linux and Python 3.11." && \
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//') > requirements-dev.lock

# torch first: asked for by its version, it comes as the build that fits the machine
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -e '.[embedded,examples,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
