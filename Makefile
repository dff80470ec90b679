# Everything is set up in .venv by the first target that needs it.
#
#   make demo       64 units of AlexNet's conv5, and a page of them
#   make test       the tests that take minutes, not longer
#   make test-all   all of them
#   make lock       requirements.txt anew from setup.py; needs uv

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: demo test test-all lint lock clean

demo: $(READY)
	@$(BIN)/vizjax run --config=demo --workdir=results/demo
	@echo 'Photographs beside the images: $(BIN)/vizjax examples \
	  --workdir=results/demo --dataset=FOLDER, and make demo again' >&2
	@$(BIN)/vizjax atlas --workdir=results/demo

test: lint
	@$(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow'

test-all: lint
	@$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(READY)
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/basedpyright

$(READY): requirements.txt setup.py pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'Python 3.11 or newer is needed: type make PYTHON=python3.12' >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes --requirement requirements.txt
	$(PIP) --no-deps --config-settings editable_mode=compat --editable .
	@touch $(READY)

lock:
	uv pip compile setup.py --extra test --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  --upgrade --output-file requirements.txt

clean:
	rm -rf .venv build *.egg-info
