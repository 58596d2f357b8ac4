# Each target does all the set-up it needs. Another Python: make PYTHON=python3.12 lab
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
VENV_PYTHON := .venv/Scripts/python
else
VENV_PYTHON := .venv/bin/python
endif

.PHONY: help setup lab test bench notebooks lock clean

help:
	@echo "make lab        open the course in JupyterLab"
	@echo "make test       run every test"
	@echo "make bench      measure the course against its peers"
	@echo "make notebooks  for authors: run the notebooks and store their outputs"
	@echo "make lock       for engineers: renew requirements.lock from pyproject.toml"
	@echo "make clean      remove the environment (.venv); your work/ stays"

setup:
	@command -v $(PYTHON) >/dev/null || { echo "The course needs Python 3.11 to 3.13, and there is no $(PYTHON) here: install it, or name it, as in 'make PYTHON=python3.12 lab'."; exit 1; }
	@$(PYTHON) course_utils/bootstrap.py

lab: setup
	@$(VENV_PYTHON) -m course_utils.cli lab

test: setup
	@$(VENV_PYTHON) -m pytest --durations=10 -n auto --maxprocesses=4 --dist loadfile

bench: setup
	@$(VENV_PYTHON) -m tests.benchmarks

notebooks: setup
	@$(VENV_PYTHON) -m course_utils.cli execute

lock: setup
	@$(VENV_PYTHON) -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	    --fork-strategy fewest --generate-hashes --custom-compile-command "make lock" --quiet --output-file requirements.lock

clean:
	rm -rf .venv .venv-setup.log
