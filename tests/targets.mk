.PHONY: help-authors test bench notebooks lock

help: help-authors

help-authors:
	@echo "make test       run every test"
	@echo "make bench      measure the course against its peers"
	@echo "make notebooks  for authors: run the notebooks and store their outputs"
	@echo "make lock       for engineers: renew requirements.lock from pyproject.toml"

test: setup
	@$(VENV_PYTHON) -m pytest --durations=10 -n auto --maxprocesses=4 --dist loadfile

bench: setup
	@$(VENV_PYTHON) -m tests.benchmarks

notebooks: setup
	@$(VENV_PYTHON) -m course_utils.cli execute

lock: setup
	@$(VENV_PYTHON) -m uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --upgrade \
	    --fork-strategy fewest --generate-hashes --custom-compile-command "make lock" --quiet --output-file requirements.lock
