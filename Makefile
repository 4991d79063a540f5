# Two words for a newcomer: `make demo` and `make test`. Everything is installed into .venv in this folder.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# One thread each: two test workers with two threads each would fight for the cores.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install test check docs clean

install: $(INSTALLED)

# torch first and alone, so that no other package decides which build of it is taken.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/docs.py --check

# Writes what is generated: schemas of the records, the map of files in the README.
docs: $(INSTALLED)
	$(BIN)/python scripts/docs.py

clean:
	rm -rf .venv build dist
