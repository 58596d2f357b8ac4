.PHONY: help-authors test claims lint bench reproduce notebooks site lock

help: help-authors

help-authors:
	@echo "make test       run the tests, and the lectures as tests (half an hour on two cores)"
	@echo "make claims     run what a week can wait for: the project starters, wrong answers to lectures 10 to 13, every claim that takes minutes"
	@echo "make lint       see whether ruff finds something, or would lay something out otherwise, and eslint if it is installed"
	@echo "make bench      measure the course against its peers"
	@echo "make reproduce  set our test log-likelihoods beside the published ones (half an hour)"
	@echo "make notebooks  for authors: run the notebooks and store their outputs"
	@echo "make site       write the course as a site, to build/site"
	@echo "make lock       for engineers: renew requirements.lock from pyproject.toml"

test: setup
	@$(VENV_PYTHON) -m pytest --durations=10 -n auto --dist loadfile --no-loadscope-reorder

claims: setup
	@$(VENV_PYTHON) -m pytest tests/claims -m "slow or not slow" --durations=10 -n auto
	@$(VENV_PYTHON) -m pytest --ignore tests/claims -m slow --durations=10 -n auto

lint: setup
	@$(VENV_PYTHON) -m ruff format --check --quiet .
	@$(VENV_PYTHON) -m ruff check --quiet .
	@if [ -d node_modules ]; then npm run --silent lint; else echo "The JavaScript was not linted: that takes npm install, once."; fi

bench: setup
	@$(VENV_PYTHON) -m tests.benchmarks

reproduce: setup
	@$(VENV_PYTHON) -m tests.benchmarks.reproduce

notebooks: setup
	@$(VENV_PYTHON) -m course_utils.cli execute

site: setup
	@$(VENV_PYTHON) -m course_utils.cli site build/site

lock: setup
	@$(VENV_PYTHON) -m uv pip compile pyproject.toml --extra dev --extra projects --extra site --universal --python-version 3.11 --upgrade \
	    --fork-strategy fewest --generate-hashes --custom-compile-command "make lock" --quiet --output-file requirements.lock
