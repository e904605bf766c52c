# Two commands on a fresh machine: `make demo` and `make test`. Both set up the same virtual environment first.
PYTHON ?= python3
VENV   ?= .venv
READY  := $(VENV)/.ready
BIN    := $(VENV)/bin
RUN    ?= runs/demo

.PHONY: demo test lint clean

$(READY): setup.cfg pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=23"
	$(BIN)/python -m pip install --quiet --editable ".[test,report]"
	touch $(READY)

demo: $(READY)  ## digits: train on aer_noisy, evaluate on fake_brisbane, write a report (a few minutes)
	$(BIN)/qkd-qiskit run demo --out $(RUN)

test: $(READY) lint  ## everything that can be checked, in parallel on all cores
	$(BIN)/python -m pytest -n auto --dist worksteal

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info
