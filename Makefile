# A machine with make and Python 3.11 or newer needs nothing else: the first
# target that wants it makes the environment in .venv.
PYTHON ?= python3
WORKERS ?= 2
NB ?= $(wildcard book/*.ipynb)

BIN := .venv/bin
READY := .venv/ready

.PHONY: help book browser pdf test coverage hunt mutants colab lint audit bench execute figures address env clean

help: ## what can be made
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

book: $(READY) ## build the book; any warning is an error
	$(BIN)/jupyter-book build -W -n --keep-going book/
	@echo "The book is there. Open $(CURDIR)/_build/html/index.html"

test: $(READY) ## run every law and every chapter, compare stored outputs
	$(BIN)/python -m pytest --nbval -n $(WORKERS) --dist loadscope $(ARGS)

browser: book ## read the built book in a headless Chromium, as its readers do
	$(BIN)/python -m pytest tests/test_browser.py -m browser $(ARGS)

pdf: book ## print the whole book to _build/book.pdf (needs a Chromium)
	$(BIN)/python book/_ext/pdf.py

coverage: $(READY) ## name the lines of the package that no law reaches
	$(BIN)/python -m pytest tests -n $(WORKERS) --dist loadscope \
	  --cov=ddim_edu --cov-report=term-missing:skip-covered $(ARGS)

hunt: $(READY) ## 3,000 new examples for each law that holds for all (hours)
	LAWS_PROFILE=hunt $(BIN)/python -m pytest tests -m hypothesis $(ARGS)

mutants: $(READY) ## break each formula in turn: does a law notice? (an hour)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --requirement tests/mutants.txt
	$(BIN)/python tests/mutants.py $(ARGS)

colab: ## run every notebook as Colab would, alone and on its old versions
	$(PYTHON) -m venv _build/colab
	_build/colab/bin/pip install --quiet --disable-pip-version-check \
	  --requirement tests/colab.txt
	_build/colab/bin/python tests/colab.py $(ARGS)

lint: $(READY) ## style and spelling, of notebooks too
	$(BIN)/ruff check .
	$(BIN)/codespell
	@for nb in $(NB); do \
	  $(BIN)/jupytext --quiet --to md:myst --output - $$nb \
	  | $(BIN)/codespell - || { echo "in $$nb (lines of its text form)"; exit 1; }; \
	done

audit: ## known holes in what requirements.txt pins (asks PyPI)
	$(PYTHON) -m venv _build/audit
	_build/audit/bin/pip install --quiet --disable-pip-version-check \
	  pip-audit==2.10.1
	grep -v '^-e' requirements.txt > _build/audit/pinned.txt
	_build/audit/bin/pip-audit --requirement _build/audit/pinned.txt

bench: $(READY) _build/peers ## speed and memory beside public samplers (ARGS=--quick)
	PYTHONPATH=_build/peers $(BIN)/python -m benchmarks $(ARGS)

_build/peers: benchmarks/requirements.txt $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --no-deps --upgrade --target $@ --requirement $<
	@touch $@

execute: $(READY) ## run chapters in place (NB=book/07-ddim-step.ipynb for one)
	$(BIN)/python book/_ext/execute.py $(NB)

figures: $(READY) ## all figures as PNG (DPI=300 draws them anew)
	$(BIN)/python book/_ext/pictures.py $(if $(DPI),--dpi $(DPI)) $(NB)

address: ## carry the repository's address from pyproject.toml everywhere
	$(PYTHON) book/_ext/address.py

env: $(READY) ## make .venv and nothing else

clean: ## remove what was built, but not .venv
	rm -rf _build .pytest_cache .ruff_cache .hypothesis

# --upgrade-deps: the newest pip; the one that Python brings can be years old
$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv --upgrade-deps .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --requirement requirements.txt
	@touch $@
