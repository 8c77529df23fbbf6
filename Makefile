# `make up` starts the assistant, `make test` checks it, `make help` lists the rest.
SHELL := /bin/sh
.DEFAULT_GOAL := help

# auto: the GPU build of vLLM where nvidia-smi lists a GPU, else the CPU build. Or: make up BUILD=cpu
BUILD ?= auto
# The first Python on the path that is new enough and not too new; or: make up PYTHON=/path/to/python3.12
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin

.PHONY: help up python setup setup-dev browser test lint unit clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: setup ## install what is missing, start model and web, print the address; Ctrl-C stops all of it
	@exec $(BIN)/medvint up

python:
	@test -n "$(PYTHON)" || { echo "Setup stopped. Python 3.11, 3.12 or 3.13 is needed and was not found" \
	"(python3 is $$(python3 -V 2>&1 | cut -c1-60)). On Debian or Ubuntu: sudo apt install python3.11 python3.11-venv," \
	"or name one: make up PYTHON=/path/to/python3.12" >&2; exit 1; }

setup: python ## only install, into .venv
	@"$(PYTHON)" -m assistant.install --build $(BUILD)

setup-dev: python
	@"$(PYTHON)" -m assistant.install --build $(BUILD) --dev

browser: setup-dev
	@$(BIN)/python -m tests.browser

test: browser ## everything that has to hold: style, types, tests with the real engine and a browser
	@echo "-- ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "-- mypy" && $(BIN)/mypy
	@echo "-- pytest" && $(BIN)/python -m tests.run

lint: setup-dev ## style and types only
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

unit: setup-dev ## the tests that need neither engine nor browser
	@$(BIN)/python -m pytest -m "not engine and not browser"

clean: ## remove the installation (.venv); the assistant's state is in data/ and stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache
