# The commands of the house: `make` alone lists them. Each makes .venv ready first, and is quick when it is.

PYTHON ?=
LAB_ARGS ?=
DATES_ARGS ?=
SCORE_ARGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
SITE_ARGS ?=

BIN := .venv/bin
# Naming another Python asks for another environment, so it has a stamp of its own.
READY := .venv/ready$(addprefix -,$(notdir $(PYTHON)))
# Programs of the environment are found by notebooks and tests too.
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python
# JupyterLab refuses to serve root unless told; in a container there is often nobody else.
AS_ROOT := $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help install lab test test-browser test-classroom score site bench notebooks animations dates format import-time lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

install: $(READY) ## create .venv with the pinned versions, for `source .venv/bin/activate`

lab: $(READY) ## open the course in JupyterLab (more options for it: LAB_ARGS=--no-browser)
	@$(RUN) -m jupyterlab --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
		$(AS_ROOT) $(LAB_ARGS)

test: $(READY) ## prove all of it: lint, types, tests, every notebook re-run and compared (PYTEST_ARGS="-k mask")
	@$(RUN) scripts/run_tests.py $(if $(PYTEST_ARGS),-- $(PYTEST_ARGS))

test-classroom: $(READY) ## let the grader name every mistake it knows, and submissions cheat, break and never end
	@$(RUN) -m pytest tests/classroom --numprocesses=auto $(PYTEST_ARGS)

score: $(READY) ## measure the grader: is each mistake caught and named, is no right function rejected (SCORE_ARGS=--all)
	@$(RUN) -m grader_exam.score $(SCORE_ARGS)

test-browser: $(READY) ## visit every page of the site and JupyterLab in a real browser (skipped where there is no Chromium)
	@$(RUN) -m pytest tests/browser -rs --numprocesses=auto --dist=loadfile $(PYTEST_ARGS)

site: $(READY) ## build the course as a site that works with the network off: build/site/index.html
	@$(RUN) scripts/build_site.py $(SITE_ARGS)

bench: $(READY) ## measure the seven beside what others run: tables, bench-results/ (one minute: BENCH_ARGS=--quick)
	@$(RUN) -m attention_variants.cli bench $(BENCH_ARGS)

notebooks: $(READY) ## run the notebooks and store their outputs (one: ONLY=03)
	@$(RUN) scripts/run_notebooks.py $(addprefix --only=,$(ONLY))

animations: $(READY) ## build the animations of the notebooks, and measure them
	@$(RUN) scripts/animations.py

dates: $(READY) ## train the model that reads dates, and measure it (after Ctrl-C: DATES_ARGS=--resume)
	@$(RUN) scripts/train_dates.py $(DATES_ARGS)

format: $(READY) ## format the code and mend what ruff can
	@$(RUN) -m ruff check --fix .
	@$(RUN) -m ruff format .

import-time: $(READY) ## measure what importing the package costs beside importing torch
	@$(RUN) scripts/import_time.py

lock: ## write constraints.txt anew (TORCH=2.14.0 for a new torch)
	@scripts/lock.sh "$(or $(PYTHON),python3)" "$(TORCH)"

clean: ## remove .venv and all caches
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	find . -name .ipynb_checkpoints -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt scripts/without_dependencies.txt scripts/set_up.sh scripts/set_up.py
	@scripts/set_up.sh "$(PYTHON)"
	@touch $@
