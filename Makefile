# The commands people script against. `make help` lists them.
# Nothing to set up by hand: .venv is made when needed. `PYTHON=python3 VENV=` uses the interpreter at hand instead.
# TORCH_INDEX=<url> chooses where torch comes from, for example an index with CPU-only builds.

PYTHON ?= python3
VENV ?= .venv
SUITE ?= quick
RUN ?= results/$(SUITE)
TORCH_INDEX ?=
ARGS ?=

ifeq ($(strip $(VENV)),)
READY :=
PY := $(PYTHON)
else
READY := $(VENV)/.ready
PY := $(VENV)/bin/python
endif

.PHONY: help bench report test lint clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

bench: $(READY)  ## run a suite (SUITE=quick) and write CSV, figures, and report under results/; resumes what is unfinished
	$(PY) -m bench run $(SUITE) $(ARGS)

report: $(READY)  ## rebuild figures and report of RUN=results/quick from the run directory alone
	$(PY) -m bench report $(RUN)

test: $(READY)  ## run every test
	$(PY) -m pytest $(ARGS)

lint: $(READY)  ## check style
	$(PY) -m ruff check .

clean:  ## remove the virtual environment and caches; results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, found %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(PY) -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@
