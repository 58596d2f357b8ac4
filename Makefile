# Each target does all the set-up it needs. Another Python: make PYTHON=python3.12 lab
PYTHON ?= python3
ifeq ($(OS),Windows_NT)
VENV_PYTHON := .venv/Scripts/python
else
VENV_PYTHON := .venv/bin/python
endif

.PHONY: help setup lab clean

help:
	@echo "make lab        open the course in JupyterLab"
	@echo "make clean      remove the environment (.venv); your work/ stays"

setup:
	@command -v $(PYTHON) >/dev/null || { echo "The course needs Python 3.11 to 3.13, and there is no $(PYTHON) here: install it, or name it, as in 'make PYTHON=python3.12 lab'."; exit 1; }
	@$(PYTHON) course_utils/bootstrap.py

lab: setup
	@$(VENV_PYTHON) -m course_utils.cli lab

clean:
	rm -rf .venv .venv-setup.log

# What needs the tests and the solutions; in a repository that was released to students there are none.
-include tests/targets.mk
