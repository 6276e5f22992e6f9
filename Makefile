# Everything is reached from here; `make help` lists it. `.venv` is made and repaired on the way (setup_env.sh).
PROFILE ?= tinyworld
PORT ?=
ARGS ?=
PY := .venv/bin/python
# On a CPU, threads that wait must sleep, and memory that a step frees must be there for the next: half the time else.
CPU_TRAINING := OMP_WAIT_POLICY=PASSIVE MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=100000000000 MALLOC_TOP_PAD_=268435456

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench tinyworld space audit clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  PROFILE=tinyworld|small-cpu|llama-8b|remote|file.yaml and PORT=7860 go with demo; ARGS=... goes to the program."

demo: ## start the model servers and the page, and print its address (PROFILE=..., PORT=...)
	@sh setup_env.sh
	@exec $(PY) app.py --profile $(PROFILE) $(if $(PORT),--port $(PORT)) $(ARGS)

test: ## run the whole test suite
	@sh setup_env.sh --test
	@OMP_WAIT_POLICY=PASSIVE exec $(PY) -m pytest $(ARGS)

lint: ## check style and formatting
	@sh setup_env.sh --dev
	@$(PY) -m ruff check . && $(PY) -m ruff format --check .

bench: ## measure what the page and the storage cost
	@sh setup_env.sh --test
	@exec $(PY) -m benchmarks $(ARGS)

tinyworld: ## make the embedded model and its adapter anew (hours; ARGS=--smoke takes minutes)
	@sh setup_env.sh
	@exec env $(CPU_TRAINING) $(PY) -m align all --recipe align/recipes/tinyworld.yaml $(ARGS)

space: ## make the folder of a Hugging Face Space in space/ (ARGS=--gpu for a GPU; docs/deploy.md)
	@sh setup_env.sh
	@exec $(PY) -m deploy.space $(ARGS)

audit: ## ask an advisory service about every installed package (ARGS=... goes to pip-audit)
	@sh setup_env.sh --dev
	@exec $(PY) -m deploy.audit $(ARGS)

clean: ## remove .venv and caches; votes, runs and models stay
	@rm -rf .venv .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
