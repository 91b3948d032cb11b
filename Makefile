# `make` lists the verbs. GNU make 3.81 or newer; Linux or macOS; Python 3.11, 3.12 or 3.13.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
BENCH_VENV := .bench-venv
BENCH_READY := $(BENCH_VENV)/.installed

export PYTHONUTF8 := 1

define FIND_PYTHON
found=; for python in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
  if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found="$$python"; break; fi; \
done; \
if [ -z "$$found" ]; then \
  echo "Python 3.11, 3.12 or 3.13 is needed, found: $$("$(PYTHON)" --version 2>&1 || true). Install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; \
fi
endef

##@ Help

.PHONY: help
help: ## List the verbs
	@awk 'BEGIN {FS = ":.*## "} /^##@ / {print substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Run

.PHONY: demo
demo: $(READY) ## Run the whole pipeline here, no container needed [CARDS=5000 DAYS=35 SEED=7 START=2026-01-01]
	@$(BIN)/python -m embedded.demo $(if $(CARDS),--cards "$(CARDS)") $(if $(DAYS),--days "$(DAYS)") $(if $(SEED),--seed "$(SEED)") $(if $(START),--start "$(START)")

.PHONY: features
features: $(READY) ## Show a card's online features after a demo: CARD=...
	@if [ -z "$(CARD)" ]; then echo 'Name a card: make features CARD=... (the demo shows two at its end).' >&2; exit 2; fi
	@$(BIN)/python -m embedded.features --card "$(CARD)"

.PHONY: serve
serve: $(READY) ## Serve the demo's features over HTTP until Ctrl-C [PORT=8090]
	@$(BIN)/python -m embedded.serve $(if $(PORT),--port "$(PORT)")

##@ Containers

.PHONY: engine
engine: ## Give a Debian machine without Docker a running Engine with compose and buildx
	@bash images/offline/engine.sh

.PHONY: offline-images
offline-images: ## Build the upstream base images where no registry is reached, from Debian packages and Go modules
	@$(FIND_PYTHON); "$$found" -m images.offline

.PHONY: images
images: ## Build all images of the project
	@$(FIND_PYTHON); "$$found" -m images.build

.PHONY: compose-up
compose-up: ## Build the images and start the stack: Airflow, MinIO, Redis, PostgreSQL
	@$(FIND_PYTHON); "$$found" -m compose.stack check && "$$found" -m images.build && "$$found" -m compose.stack up

.PHONY: compose-down
compose-down: ## Stop the stack; its data stays [VOLUMES=1 deletes it]
	@$(FIND_PYTHON); "$$found" -m compose.stack down $(if $(VOLUMES),--volumes)

.PHONY: e2e-compose
e2e-compose: $(READY) engine ## Test the stack from boot to features read back, with restarts and failures; deletes its data
	@$(FIND_PYTHON); "$$found" -m images.offline --base --pull
	@$(FIND_PYTHON); "$$found" -m images.build
	@$(BIN)/python -m pytest -vv --timeout 2400 tests/e2e/compose_stack $(ARGS)

##@ Kubernetes (kind)

KIND = $(FIND_PYTHON); "$$found" -m kind

.PHONY: tools
tools: ## Bring kind, kubectl and helm into .tools/bin
	@$(KIND) tools

.PHONY: kind-up
kind-up: ## Make the platform work on Kubernetes: cluster, images, charts; again: bring it up to date [SERVE=1: features over HTTP too]
	@$(KIND) up $(if $(SERVE),--serve)

.PHONY: kind-login
kind-login: ## Show the logins, passwords too
	@$(KIND) login

.PHONY: run
run: ## Run the pipeline on the cluster: DATE=2026-01-01 [END=2026-01-08 CARDS=5000 SEED=7 FORMAT=jsonl.gz GENERATE=false SNAPSHOT=2026-01-01 MAX_BAD_SHARE=0.01]
	@if [ -z "$(DATE)" ]; then echo 'Name a day: make run DATE=2026-01-01' >&2; exit 2; fi
	@$(KIND) run "$(DATE)" $(if $(END),--end="$(END)") $(if $(CARDS),--cards="$(CARDS)") $(if $(SEED),--seed="$(SEED)") $(if $(FORMAT),--format="$(FORMAT)") \
	  $(if $(GENERATE),--generate="$(GENERATE)") $(if $(SNAPSHOT),--snapshot="$(SNAPSHOT)") $(if $(MAX_BAD_SHARE),--max-bad-share="$(MAX_BAD_SHARE)")

.PHONY: card
card: ## Show a card's online features on the cluster [CARD=...]
	@$(KIND) card $(if $(CARD),--card="$(CARD)")

.PHONY: logs
logs: ## Show the log of a job's newest pod: JOB=bronze [FOLLOW=1]
	@if [ -z "$(JOB)" ]; then echo 'Name a job: make logs JOB=bronze' >&2; exit 2; fi
	@$(KIND) logs "$(JOB)" $(if $(FOLLOW),--follow)

.PHONY: status
status: ## Show the cluster's nodes, pods and claims, and the last runs
	@$(KIND) status

.PHONY: kind-job
kind-job: ## Build one job's image; the cluster's next pods run it: JOB=bronze
	@if [ -z "$(JOB)" ]; then echo 'Name a job: make kind-job JOB=bronze' >&2; exit 2; fi
	@$(KIND) job "$(JOB)"

.PHONY: doctor
doctor: ## Collect into one zip what helps to find a fault; no password is in it
	@$(KIND) doctor

.PHONY: kind-reset
kind-reset: ## Throw the release and all its data away, keep cluster and images, install anew [SERVE=1]
	@$(KIND) reset $(if $(SERVE),--serve)

.PHONY: kind-down
kind-down: ## Delete the cluster and all data in it
	@$(KIND) down

.PHONY: e2e-kind
e2e-kind: $(READY) engine ## Test the platform on a cluster of its own: helm test, flows, rights, failures, upgrades
	@$(FIND_PYTHON); "$$found" -m images.offline --pull
	@$(BIN)/python -m pytest -vv --timeout 2400 tests/e2e/kind_cluster $(ARGS)

##@ Develop

.PHONY: test
test: $(READY) ## Run the tests [ARGS="-k name"]
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

.PHONY: lint
lint: $(READY) ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

.PHONY: bench
bench: $(BENCH_READY) ## Compare with what people use, side by side; writes docs/benchmarks.md [FAMILY=load PAIRS=5 SIZE="20000 200000"]
	@bash tests/bench/tools.sh
	@$(BIN)/python -m tests.bench $(if $(FAMILY),--family "$(FAMILY)") $(if $(PAIRS),--pairs "$(PAIRS)") $(foreach size,$(SIZE),--size "$(size)") $(ARGS)

.PHONY: bench-quick
bench-quick: $(BENCH_READY) ## A small version in three minutes; fails where a ratio is below its floor [FAMILY=load]
	@bash tests/bench/tools.sh
	@$(BIN)/python -m tests.bench --quick $(if $(FAMILY),--family "$(FAMILY)") $(ARGS)

.PHONY: docs
docs: $(READY) ## Write the generated reference pages, and the charts' schemas and READMEs, anew
	@$(BIN)/python -m docs.build
	@$(BIN)/python -m charts.build
	@$(BIN)/python -m tests.bench.page

.PHONY: pictures
pictures: $(READY) ## Take the docs' pictures from what runs, after a green run: ON=compose or ON=kind; needs chromium and chromedriver
	@$(BIN)/uv run --quiet --no-project --python $(BIN)/python --with-requirements requirements/pictures.txt python -m docs.pictures $(or $(ON),compose)

.PHONY: lock
lock: $(READY) ## Compile requirements/*.in anew, with hashes
	@for source in requirements/dev.in $(filter-out requirements/dev.in,$(wildcard requirements/*.in)); do \
	  echo "$$source -> $${source%.in}.txt"; \
	  $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header "$$source" -o "$${source%.in}.txt" || exit 1; \
	done

.PHONY: clean
clean: ## Remove the demo's state and the caches
	@if [ -x $(BIN)/python ]; then $(BIN)/python embedded/lock.py .demo; else $(PYTHON) embedded/lock.py .demo; fi
	@rm -rf .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . \( -path ./$(VENV) -o -path ./$(BENCH_VENV) \) -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## The same and the Python environment
	@rm -rf $(VENV) $(BENCH_VENV)

# The stamp is written last: an interrupted installation goes on at the next call.
$(READY): requirements/dev.txt requirements/uv.txt
	@$(FIND_PYTHON); \
	if ! "$$found" -c 'import venv, ensurepip' 2>/dev/null; then \
	  echo "$$found has no venv module: on Debian and Ubuntu, apt install $$("$$found" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2; exit 2; \
	fi; \
	echo "Installing the Python environment into $(VENV): about two minutes and 2.5 GB, once."; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then "$$found" -m venv --clear $(VENV); fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt
	@echo "Preparing Java's class archive: a quarter of a minute, once, so that Spark starts faster."
	@$(BIN)/python -m jobs.common.class_archive
	@touch $(READY)

# A peer of the generator and the plots: in an environment of their own, so that the product's stays as it is.
$(BENCH_READY): requirements/bench.txt $(READY)
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(BENCH_VENV)
	@$(BIN)/uv pip install --quiet --python $(BENCH_VENV)/bin/python --require-hashes -r requirements/bench.txt
	@touch $(BENCH_READY)
