# Firstlook. `make help` lists what can be asked for.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BABEL := $(BIN)/python -m babel.messages.frontend --quiet
export PYTHONUNBUFFERED := 1
# Many processes start, of the same files: each is compiled once, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run demo test lint chaos bench train recipes-smoke recipes-full gpu-check clean tools translations chromium

help: ## list what can be asked for
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 24

run: $(VENV)/run.installed ## start Firstlook on http://127.0.0.1:8000 (Ctrl-C stops all of it)
	@exec $(BIN)/python -m webapp.launch

demo: $(VENV)/test.installed ## the main job without a browser, in a temporary instance
	@exec $(BIN)/python -m tests.demo

# Two tests at a time, a core each; of those that wait for processes of their own three, and the
# files that take long before those that do not.
test recipes-smoke: export OMP_NUM_THREADS := 1
test recipes-smoke: export OPENBLAS_NUM_THREADS := 1
test: lint chromium ## everything that the tests need, then all of them but recipes-smoke
	$(BIN)/python -m pytest -n 2 tests/architecture tests/unit tests/views \
		--ignore=tests/unit/ml/test_recipes_smoke.py
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder \
		tests/bench tests/flow tests/browser tests/chaos

lint: $(VENV)/test.installed ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

chaos: $(VENV)/test.installed ## kill workers, broker and web for minutes; nothing may be lost
	$(BIN)/python -m tests.chaos

bench: $(VENV)/test.installed ## measure: upload to result, heat map, drain, list page, memory
	$(BIN)/python -m tests.bench

train: $(VENV)/run.installed ## train the blood-cell model: make train DATA=DIR OUT=DIR
	$(BIN)/python -m ml.train --recipe ml/recipes/blood-cell.toml --data $(DATA) --out $(OUT)

# Handed out one by one: the families, which take long, come first and would all go to one core.
recipes-smoke: $(VENV)/test.installed ## every recipe, small: networks build, learn, resume, export, serve
	$(BIN)/python -m pytest -n 2 --maxschedchunk 1 \
		tests/unit/ml/test_recipes_smoke.py tests/unit/ml/test_networks.py \
		-k "smoke or every_recipe_builds or names_and_shapes"

recipes-full: $(VENV)/run.installed ## train every recipe: make recipes-full DATA=DIR (one folder a reading task) OUT=DIR
	@failed=""; \
	for recipe in ml/recipes/*.toml; do \
		name=$$(basename $$recipe .toml); \
		task=$$(sed -n 's/^reading_task = "\(.*\)"/\1/p' $$recipe); \
		$(BIN)/python -m ml.train --recipe $$recipe --data $(DATA)/$$task --out $(OUT)/$$name \
			|| failed="$$failed $$name"; \
	done; \
	if [ -n "$$failed" ]; then echo "Not trained:$$failed"; exit 1; fi

gpu-check: $(VENV)/run.installed ## compare the engines on a GPU (ends with 2 where there is none)
	@$(BIN)/python -m ml.gpu_check

clean: ## remove the installed packages (never the instance)
	rm -rf $(VENV)

tools:
	@missing=""; \
	command -v git >/dev/null || missing="$$missing git"; \
	command -v $(PYTHON) >/dev/null || missing="$$missing python3"; \
	if command -v $(PYTHON) >/dev/null; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
			|| missing="$$missing python3(3.11-or-newer)"; \
		$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing="$$missing python3-venv"; \
	fi; \
	if [ -n "$$missing" ]; then \
		echo "Missing:$$missing. On Debian or Ubuntu: sudo apt-get install git make python3 python3-venv"; \
		exit 1; \
	fi

$(BIN)/python: | tools
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.installed: requirements.txt | $(BIN)/python
	@if $(BIN)/python -c 'import importlib.metadata as m; print(m.version("torch"))' 2>/dev/null \
		| grep -qE "^$$(sed -n 's/^torch==//p' requirements.txt)(\+|$$)"; then \
		echo "Installing packages into $(VENV): up to 500 MB to download; the torch that is there is kept."; \
	else \
		echo "Installing packages into $(VENV): about 700 MB to download with a CPU build of torch," \
			"about 4 GB with the build for NVIDIA GPUs that pip takes by itself."; \
	fi
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/test.installed: tests/requirements.txt requirements-s3.txt $(VENV)/run.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

translations: $(VENV)/run.installed ## take new texts up into the catalogues, and compile them
	$(BABEL) extract --mapping-file pyproject.toml --keyword _l --no-location --sort-output \
		--width 100 --output-file $(VENV)/messages.pot .
	$(BABEL) update --no-fuzzy-matching --ignore-obsolete --ignore-pot-creation-date --width 100 \
		--input-file $(VENV)/messages.pot --output-dir webapp/translations
	$(BABEL) compile --directory webapp/translations

# Chromium's headless shell, which Debian has, takes half the processor; else the whole browser.
chromium:
	@if ! command -v chromium-headless-shell >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing Chromium for the browser tests"; \
			get="apt-get install -y -qq --no-install-recommends"; \
			apt-get update -qq; $$get chromium-headless-shell >/dev/null || \
				command -v chromium >/dev/null || $$get chromium >/dev/null; \
		elif ! command -v chromium >/dev/null; then \
			echo "The browser tests need Chromium: sudo apt-get install chromium-headless-shell, or chromium (they are skipped without it)"; \
		fi; \
	fi
