PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint docs clean

# The whole story on made-up data: train, defend, attack, report.
demo: $(READY)
	$(BIN)/mindefense demo

# Tests on real data run where MINDEFENSE_DATA names a folder that holds it. tests/conftest.py says which tests stay in
# one process.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadscope --no-loadscope-reorder

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# The site, from the pages in docs/ and the docstrings; every warning is an error. Read build/docs/index.html.
docs: $(READY)
	rm -rf build/docs
	$(BIN)/python -m sphinx -q -n -W --keep-going -E -d build/doctrees docs build/docs

# One pip call, so that all pins hold together: mindarmour alone would bring a NumPy that breaks mindspore. Compat mode
# puts the folder on the path, where editors and type checkers find the package too.
$(READY): setup.py constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --config-settings editable_mode=compat -e ".[test]"
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
