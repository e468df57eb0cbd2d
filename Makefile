# Everything happens in a virtual environment of its own; only Python 3.11 or newer is needed.
VENV ?= .venv
PYTHON ?= python3
BIN = $(VENV)/bin

.PHONY: demo test test-cli test-others lint docs package

# Needs the package alone, neither tests nor documents.
demo: $(VENV)/dewedge
	$(BIN)/dewedge demo -o dewedge_demo --overwrite

# In two parts, for make -j2.
test: test-cli test-others

# The tests' arrays are tiny: more threads would only wait for each other.
test-cli test-others: export OMP_NUM_THREADS = 1
test-cli: $(VENV)/installed
	$(BIN)/python -m pytest tests/cli

test-others: $(VENV)/installed
	$(BIN)/python -m pytest --ignore=tests/cli

lint: $(VENV)/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Into site/; a link that leads nowhere fails.
docs: export NO_MKDOCS_2_WARNING = 1
docs: $(VENV)/installed
	$(BIN)/python -m mkdocs build --strict

package: $(VENV)/installed
	$(BIN)/python packaging/check.py

$(VENV)/dewedge: INSTALL = .
$(VENV)/installed: INSTALL = .[test,docs,release]
$(VENV)/dewedge $(VENV)/installed: pyproject.toml constraints.txt
	@echo "Installing into $(VENV): up to 2 GB and some minutes"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '$(INSTALL)'
	touch $@
