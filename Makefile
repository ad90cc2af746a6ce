# make demo    a synthetic cohort through the whole pipeline, and its report
# make test    linters, types, import contracts, tests (CI runs this)
# make test-all   the long tests too

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
CORES ?= $(shell nproc 2>/dev/null || echo 2)
DEMO ?= demo-out
EXTRAS := workflow,train,dev
STAMP := $(VENV)/.installed

# uv does in half a minute what takes pip several; it finds the same local wheels as pip.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
# Small machines: threads of numeric libraries only get in the way of parallel jobs.
export OMP_NUM_THREADS ?= 2

.PHONY: demo test test-all lint docs clean install coverage

install: $(STAMP)

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv \
	  && $(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[$(EXTRAS)]' \
	  || $(BIN)/python -m pip install --quiet -e '.[$(EXTRAS)]'
	touch $@

demo: $(STAMP)
	$(BIN)/wsiprep demo $(DEMO)/slides --jobs $(CORES)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/snakemake --cores $(CORES) --quiet rules \
	  --config recipe=manifests/demo.yaml manifest=$(DEMO)/slides/manifest.csv out=$(DEMO)/dataset \
  pack_threads=1 train_threads=1
	@echo
	@echo "report: $(abspath $(DEMO)/dataset/report/index.html)"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile pipelines/rules

test: lint
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pytest -n 2 --dist loadfile

test-all: lint
	PATH="$(abspath $(BIN)):$$PATH" WSIPREP_HYPOTHESIS=thorough $(BIN)/pytest -n 2 --dist loadfile -m "long or not long"

# Rewrite the generated parts of the manual: recipe keys, --help texts, exit codes.
docs: $(STAMP)
	$(BIN)/python docs/generate.py

coverage: $(STAMP)
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term-missing:skip-covered

clean:
	rm -rf $(VENV) $(DEMO) .pytest_cache .mypy_cache .ruff_cache .hypothesis
