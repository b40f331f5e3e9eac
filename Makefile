# strictarp: the entry points. `make demo` and `make test` set everything up by themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test lint sim fuzz bench clean setup system

demo: setup
	$(BIN)/strictarp lab demo

test: setup lint
	$(BIN)/python tools/run_tests.py

lint: setup
	$(BIN)/ruff check src tests tools bench
	$(BIN)/ruff format --check src tests tools bench
	$(BIN)/mypy
	$(BIN)/lint-imports

# The speaker's protocol under simulated networks: SEEDS=a:b says which fail, SEED=n prints one as a trace.
# Without either, 2,000 seeds from a random one on; `make test` runs the same 2,000 each time.
SEEDS ?= fresh:2000
sim: setup
	$(BIN)/python tools/simulate.py $(or $(SEED),$(SEEDS))

# Malformed, forged and repeated frames against the speaker: FRAMES of them from seed SEED on.
FRAMES ?= 1000000
fuzz: setup
	$(BIN)/python tools/fuzz_frames.py $(FRAMES) --seed $(or $(SEED),0)

bench: setup
	$(BIN)/python -m bench

setup: system $(VENV)/.installed

system:
	@sh tools/system-packages.sh

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

clean:
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist
