# The course's front door. `make help` lists what there is; ARGS goes to the program behind a target.
.DEFAULT_GOAL := help
PY := .venv/bin/python
INSTALL = "$$(command -v uv || echo .venv/bin/uv)" pip install --quiet --python $(PY) --require-hashes --requirement
# Docker is enough for these: no .venv, Python 3.9 or newer.
DOCKER = "$$(command -v $(PY) || command -v python3)" docker/compose.py
# Bytecode that is kept makes every later start faster, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.venv/.installed: requirements.lock pyproject.toml classroom/setup/install.sh
	@PYTHON="$(PYTHON)" sh classroom/setup/install.sh

setup: ## install everything into .venv (the other targets do this when it is needed)
	@PYTHON="$(PYTHON)" sh classroom/setup/install.sh

lab: .venv/.installed ## open JupyterLab on the first lesson, with a broker and a worker
	@$(PY) -m classroom lab $(ARGS)

flower: .venv/.installed ## open Flower, the web page about workers and tasks, on this checkout's worker
	@$(PY) -m classroom flower $(ARGS)

demo: .venv/.installed ## run the lessons' steps as one plain script
	@$(PY) client.py $(ARGS)

api: .venv/.installed ## serve batches of tasks over HTTP, on port 5000
	@$(PY) -m classroom api $(ARGS)

# Five at once on two cores: most tests wait for a worker that starts or stops.
test: .venv/.installed ## prove every cell of every lesson, and all the rest
	@$(PY) -m pytest -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

stalls: .venv/.installed ## the tests on a computer that is too busy: processes stand still at random
	@$(PY) -m tests.stalls -n 5 --dist loadfile --no-loadscope-reorder $(ARGS)

mutations: .venv/.installed ## make the lessons wrong on purpose, and see each one noticed
	@$(PY) -m tests.notebooks.mutate $(ARGS)

long: .venv/.installed ## what takes its time: lessons in disorder, ten thousand rows, every form of canvas
	@$(PY) -m pytest -n 5 --dist loadfile --no-loadscope-reorder -m long tests $(ARGS)

notebooks: .venv/.installed ## run all lessons and store their outputs, normalised
	@$(PY) -m tests.notebooks.rewrite $(ARGS)

bench: .venv/.browser ## measure every speed that we claim, beside Flower's
	@$(PY) -m benchmarks.startup $(ARGS)
	@$(PY) -m benchmarks.scope
	@$(PY) -m benchmarks.rows
	@$(PY) -m benchmarks.pixels
	@$(PY) -m benchmarks.batch_api
	@if docker info >/dev/null 2>&1; then $(PY) -m benchmarks.docker; else echo "No Docker engine runs here, so the containers are not measured."; fi

lint: .venv/.linters ## ruff and mypy
	@$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

docker-up: ## the same in containers: build, start, say where it is (CLASSROOM_BROKER=rabbitmq for that broker)
	@$(DOCKER) up $(ARGS)

docker-down: ## stop and remove the containers; the images, docker/.env, data/ and your notebooks stay
	@$(DOCKER) down

docker-logs: ## what the containers said last
	@$(DOCKER) logs

docker-test: .venv/.installed ## bring the containers up and hold the lessons against them
	@$(PY) -m pytest -n 2 --dist loadfile -m docker tests/docker $(ARGS)

clean: ## stop the stack, and remove .venv and what the tools made; your notebooks, data/ and what you have passed stay
	@! [ -x $(PY) ] || $(PY) -m classroom down
	@rm -rf .venv .hypothesis .pytest_cache .mypy_cache .ruff_cache
	@! [ -d .classroom ] || find .classroom -mindepth 1 -maxdepth 1 ! -name passed -exec rm -rf {} +
	@find . -path ./data -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

help: ## this list
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

browser: .venv/.browser ## install what the browser tests need besides chromium, which comes from your system

.venv/.linters: requirements-lint.lock .venv/.installed
	@$(INSTALL) requirements-lint.lock && touch $@

.venv/.browser: requirements-browser.lock .venv/.installed
	@$(INSTALL) requirements-browser.lock && touch $@

.PHONY: setup docker-up docker-down docker-logs docker-test lab flower demo api test stalls mutations long notebooks bench lint browser clean help
