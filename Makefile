# The chores of a developer. `make venv` once, then the others inside it.
PYTHON ?= python3.11

.PHONY: venv test quick lint types docs tables ship pictures site ci

venv:
	$(PYTHON) -m venv .venv
	.venv/bin/pip install torch==2.13.0
	.venv/bin/pip install -e ".[dev,docs]"

test:
	pytest -m ""

quick:
	pytest

lint:
	ruff check .
	ruff format --check .
	codespell

types:
	pyright

docs:
	mkdocs build --strict

tables:
	python -m tools.report readme
	python -m tools.report formats
	unhaze report paper --markdown > docs/paper.md
	python -m tools.report models > docs/models.md
	python -m tools.report zoo > docs/zoo.md

# RUN: a run folder of AECR-Net, STEP: all its steps, PICTURES: a folder of hazy/ and clear/.
ship:
	python tools/ship.py $(MODEL) $(RUN) --step $(STEP) --pictures $(PICTURES)
	$(MAKE) tables

pictures:
	python tools/make_readme_pictures.py

# The page of site/: tested, built into site/dist, and into the package for `unhaze serve`. Needs Node.
site:
	cd site && npm ci --no-audit --no-fund && npm test && npm run build
	python tools/pack_site.py

ci:
	bash .ci/run
