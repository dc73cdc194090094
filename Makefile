# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
#
#   make demo TORCH_INDEX=<url>    take torch (and nothing else) from this package index: the one that PyTorch's
#                                  installation page names for a CPU build or for your CUDA version
#   make demo PYTHON=python3.12    choose the interpreter that .venv is made with

VENV := .venv
BIN := $(VENV)/bin
LMMS := .venv-lmms-eval
# 3.11 first: constraints.txt was tested with it. A name may exist and not run (version managers leave such), so each is run.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && { echo "$$p"; break; }; done)
TORCH_INDEX ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: help demo test test-slow test-lmms-eval check tiny install install-dev clean
.DELETE_ON_ERROR:

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: install  ## set up, then draw, describe, question and converse with the built-in model; writes demo/
	$(BIN)/unimm demo --out demo

test: install-dev  ## set up, then run the test suite (under 10 minutes on two cores)
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile

test-slow: install-dev  ## the long tests: many ranks, kill and resume (under 40 minutes)
	$(BIN)/python -m pytest -q -m slow || { code=$$?; [ $$code -eq 5 ] && echo "no slow test selected"; }

test-lmms-eval: install-dev  ## make lmms-eval's own environment (3 GB) and run tasks with tiny in it
	$(BIN)/python -m tools.lmms_eval_env $(LMMS) $(if $(TORCH_INDEX),--torch-index "$(TORCH_INDEX)")
	UNIMM_LMMS_EVAL=$(LMMS) $(BIN)/python -m pytest -q tests/harness

check: install-dev  ## format and lint
	$(BIN)/ruff format .
	$(BIN)/ruff check .

tiny: install-dev  ## retrain the shipped weights from nothing (hours on a CPU)
	$(BIN)/python -m train.tiny

install: $(VENV)/.installed  ## make .venv and install the library

install-dev: $(VENV)/.installed-dev  ## the same with what training, evaluation and the tests need

clean:  ## remove what the targets above wrote, .venv included
	rm -rf $(VENV) $(LMMS) demo build dist *.egg-info .pytest_cache .ruff_cache

$(BIN)/python:
	@[ -n "$(PYTHON)" ] || { echo "unimm needs Python 3.11 or later, found $$(python3 --version 2>&1 || echo none);" \
		"install one or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 2; }
	@"$(PYTHON)" -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and \
		f"unimm needs Python 3.11 or later, $(PYTHON) is {v}; name another: make PYTHON=/path/to/python3.11")'
	@echo "Setting up $(VENV); torch is large, so the first time takes minutes."
	"$(PYTHON)" -m venv $(VENV)

# The file holds the index that torch came from; naming another one installs torch again. Without an index, torch comes from
# where everything comes from, together with the rest.
$(VENV)/.torch: $(BIN)/python constraints.txt $(if $(TORCH_INDEX),$(if $(filter $(TORCH_INDEX),$(shell cat $(VENV)/.torch 2>&1)),,again))
	$(if $(TORCH_INDEX),$(PIP) install -q -c constraints.txt --force-reinstall --no-deps --index-url "$(TORCH_INDEX)" torch)
	@echo "$(TORCH_INDEX)" > $@

.PHONY: again
again:

$(VENV)/.installed: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml constraints.txt
	$(PIP) install -q -c constraints.txt -e ".[train,eval,vae,text,dev]"
	@touch $@ $(VENV)/.installed
