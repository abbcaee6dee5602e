# The commands of this project: `make` alone lists them. Each first sees to it that .venv has what it needs, and is quick if so.

PYTHON ?=
FOR ?= lab
LAB_ARGS ?=
DATES_ARGS ?=
STORIES_ARGS ?=
SCORE_ARGS ?=
PYTEST_ARGS ?=
VISIT_ARGS ?=
NUMERIC_ARGS ?= --others
BENCH_ARGS ?=
SITE_ARGS ?=

BIN := .venv/bin
# A stamp says what .venv is ready for. Naming another Python asks for another environment, so it has stamps of its own.
NAMED := $(addprefix -,$(notdir $(PYTHON)))
LAB := .venv/ready-lab$(NAMED)
TEST := .venv/ready-test$(NAMED)
# Programs of the environment are found by notebooks and tests too.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help install lab quick test lint test-numeric test-browser test-classroom test-readers visit-lab score site bench notebooks animations dates stories format import-time lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

install: .venv/ready-$(FOR)$(NAMED) ## create .venv for the notebooks (with notebook 11's model: FOR=pretrained; nbgrader: FOR=course; all: FOR=test)

lab: .venv/ready-$(FOR)$(NAMED) ## open the course in JupyterLab (for a lecturer: FOR=course; more options for it: LAB_ARGS=--no-browser)
	@$(RUN) scripts/open_lab.py $(FOR) $(LAB_ARGS)

quick: $(TEST) ## in a minute: lint, types, and all tests but the slow ones; what failed last comes first
	@$(RUN) scripts/run_tests.py --quick $(if $(PYTEST_ARGS),-- $(PYTEST_ARGS))

test: $(TEST) ## prove all of it: lint, types, tests, every notebook re-run and compared (PYTEST_ARGS="-k mask")
	@$(RUN) scripts/run_tests.py $(if $(PYTEST_ARGS),-- $(PYTEST_ARGS))

lint: $(TEST) ## lint and types alone
	@$(RUN) scripts/run_tests.py --lint

test-numeric: $(TEST) ## run the numeric tests as other processors would (also as this one: NUMERIC_ARGS=)
	@$(RUN) scripts/run_numeric_tests.py $(NUMERIC_ARGS) $(if $(PYTEST_ARGS),-- $(PYTEST_ARGS))

test-classroom: $(TEST) ## let the grader name every mistake it knows, and submissions cheat, break and never end
	@$(RUN) scripts/run_tests.py --part classroom $(if $(PYTEST_ARGS),-- $(PYTEST_ARGS))

visit-lab: $(TEST) ## measure the notebooks in JupyterLab: seconds, sizes over ten saves, memory (VISIT_ARGS="--pictures FOLDER")
	@$(RUN) scripts/visit_lab.py $(VISIT_ARGS)

score: $(LAB) ## measure the grader: is each mistake caught and named, is no right function rejected (SCORE_ARGS=--all)
	@$(RUN) -m grader_exam.score $(SCORE_ARGS)

test-readers: $(TEST) ## run the notebooks as their readers do: with other sentences, dates, heads, variants (one: ONLY=03)
	@$(RUN) scripts/run_other_inputs.py $(addprefix --only=,$(ONLY))

test-browser: $(TEST) ## visit every page of the site and JupyterLab in a real browser (skipped where there is no Chromium)
	@$(RUN) scripts/run_tests.py --part browser $(if $(PYTEST_ARGS),-- $(PYTEST_ARGS))

site: .venv/ready-site$(NAMED) ## build the course as a site that works with the network off: build/site/index.html
	@$(RUN) scripts/build_site.py $(SITE_ARGS)

bench: .venv/ready-bench$(NAMED) ## measure the seven beside what others run: tables, bench-results/ (one minute: BENCH_ARGS=--quick)
	@$(RUN) -m attention_variants.cli bench $(BENCH_ARGS)

notebooks: $(TEST) ## run the notebooks and store their outputs (one: ONLY=03)
	@$(RUN) scripts/run_notebooks.py $(addprefix --only=,$(ONLY))

animations: $(LAB) ## build the animations of the notebooks, and measure them
	@$(RUN) scripts/animations.py

dates: $(LAB) ## train the model that reads dates, and measure it (after Ctrl-C: DATES_ARGS=--resume)
	@$(RUN) scripts/train_dates.py $(DATES_ARGS)

stories: $(LAB) ## train the small language model, and measure it (how many seeds learn it: STORIES_ARGS="--seeds 8")
	@$(RUN) scripts/train_stories.py $(STORIES_ARGS)

format: $(TEST) ## format the code and mend what ruff can
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

import-time: $(LAB) ## measure what importing the package costs beside importing torch
	@$(RUN) scripts/import_time.py

lock: ## write constraints.txt anew (TORCH=2.14.0 for a new torch)
	@scripts/lock.sh "$(or $(PYTHON),python3)" "$(TORCH)"

clean: ## remove .venv and all caches
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

.venv/ready-%: pyproject.toml constraints.txt scripts/set_up.sh scripts/set_up.py $(wildcard scripts/without_dependencies/*.txt)
	@scripts/set_up.sh "$(firstword $(subst -, ,$*))" "$(PYTHON)"
	@touch $@
