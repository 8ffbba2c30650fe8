# The commands people script against. `make help` lists them.
# Nothing to set up by hand: .venv is made when needed. `PYTHON=python3 VENV=` uses the interpreter at hand instead.
# TORCH_INDEX=<url> chooses where torch comes from, for example an index with CPU-only builds.

PYTHON ?= python3
VENV ?= .venv
SUITE ?= quick
RUN ?= results/$(SUITE)
TORCH_INDEX ?=
ARGS ?=
BASE ?=
STRICT ?=

ifeq ($(strip $(VENV)),)
READY :=
PY := $(PYTHON)
else
READY := $(VENV)/.ready
PY := $(VENV)/bin/python
endif

.PHONY: help bench report test check calibrate microbench peers gpu-report stress lint clean
.DEFAULT_GOAL := help

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

bench: $(READY)  ## run a suite (SUITE=quick) and write CSV, figures, and report under results/; resumes what is unfinished
	$(PY) -m bench run $(SUITE) $(ARGS)

report: $(READY)  ## rebuild figures and report of RUN=results/quick from the run directory alone
	$(PY) -m bench report $(RUN)

test: $(READY)  ## run every test
	$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(READY)  ## is training slower than in BASE=<git revision>? fails on SLOWER and BROKEN, with STRICT=1 on UNSURE too
	@test -n "$(BASE)" || { echo "make check: name what to compare with, as in make check BASE=main" >&2; exit 2; }
	@$(PY) -m bench compare --base "$(BASE)" $(ARGS) || { code=$$?; \
	  if [ $$code = 11 ] && [ -z "$(STRICT)" ]; then echo "make check: UNSURE is let pass; STRICT=1 makes it fail" >&2; \
	  else exit $$code; fi; }

calibrate: $(READY)  ## how often does the check err on this machine? about an hour; goes on where it stopped
	$(PY) -m bench calibrate $(ARGS)

microbench: $(READY)  ## what do losses and steps cost (pytest-benchmark), and what do harness and runner cost on top?
	$(PY) -m pytest tools/microbench --benchmark-autosave --benchmark-storage=results/microbench \
	  --benchmark-columns=min,median,iqr,rounds $(ARGS)
	$(PY) -m tools.microbench.overhead
	$(PY) -m tools.microbench.runner_cost

peers: $(READY)  ## is training faster than the loop a user would write, and how near to the machine's peak? 15 minutes
	$(PY) -m tools.peers $(ARGS)

gpu-report: $(READY)  ## on a GPU: prove its path, measure it, run suite full, into results/reference-gpu; 9 minutes a call, goes on
	$(PY) -m tools.gpu_report $(ARGS)

stress: $(READY)  ## does a run survive kill -9, a full disk, a leak, ...? 40 minutes on 2 busy cores, Linux; ARGS="--kills 5" for less
	$(PY) -m tools.stress $(ARGS)

lint: $(READY)  ## check style, layout, and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

clean:  ## remove the virtual environment and caches; results stay
	rm -rf $(VENV) .pytest_cache .ruff_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 14) else "Python 3.11 to 3.14 is needed, found %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) -c constraints.txt torch
	$(PY) -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@
