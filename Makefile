# `make demo` and `make test` do everything on a machine with Python 3.11 or later; neither needs root.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

# Tests that measure time run apart. Those that fail run once more, which is said: a busy host is one reason, a fault another.
timed = $(BIN)/pytest -m "$(1)" || \
	{ echo "RETRY: the tests above failed; they are run once more."; $(BIN)/pytest -m "$(1)" --last-failed; }

.PHONY: demo test test-all lint coverage bench golden clean
.DEFAULT_GOAL := demo

$(BIN)/vre: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

$(BIN)/pytest: $(BIN)/vre requirements-dev.lock
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.lock
	touch $@

demo: $(BIN)/vre  ## Run four routers on built-in traffic
	$(BIN)/vre demo
	@echo "Next: '$(BIN)/vre doctor' says what this host offers, '$(BIN)/vre --help' what else there is."

test: $(BIN)/pytest  ## The tests that every change must pass
	$(BIN)/pytest -m "not slow and not timing"
	$(call timed,timing and not slow)
	@echo "'make test-all' adds the long fault runs; '$(BIN)/vre doctor' says what a stronger host would add."

test-all: $(BIN)/pytest  ## All tests, the long fault runs included
	$(BIN)/pytest -m "not timing"
	$(call timed,timing)

lint: $(BIN)/pytest  ## Format, lint, types and layering
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

coverage: $(BIN)/pytest  ## Lines that tests of kernels and elements reach, compiled code by its Python twins
	mkdir -p build
	$(BIN)/coverage run -m pytest -q tests/shm tests/workers -m "not slow and not timing"
	$(BIN)/coverage report

bench: $(BIN)/pytest  ## The whole platform against its limit, then the pieces
	$(BIN)/vre bench
	$(BIN)/python benchmarks/pieces.py --fast

golden: $(BIN)/vre  ## Write anew how four shapes are composed, and what ARCHITECTURE.md shows of one
	$(BIN)/python -m tests.golden

clean:
	rm -rf $(VENV) build *.egg-info
