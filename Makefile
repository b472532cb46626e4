# Commands of one word. Each creates the environment it needs under .venv/, and again when its pins change.
# Another Python: make test PYTHON=python3.12. Some tests: make test ARGS="-k stream".

PYTHON ?= python3
VERSIONS ?= 3.10 3.11 3.12 3.13
FLOOR ?= 3.10
ARGS ?=
# Two processes per core (tests/conftest.py). Empty to run the tests in one process, as a debugger needs it: make test WORKERS=
WORKERS ?= --numprocesses=auto --dist=worksteal
SECONDS ?= 60

# pyenv puts a python3.12 on PATH that works only if that version is selected; the script finds the real one.
ifneq ($(filter python3.%,$(PYTHON)),)
override PYTHON := $(or $(shell scripts/find-python $(PYTHON:python%=%) 2>/dev/null),$(PYTHON))
endif

# The X.Y of $(PYTHON), computed once, when a rule needs it; scripts/make-venv reports "none".
MINOR = $(eval MINOR := $$(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo none))$(MINOR)
# The folder of the programs of an environment.
BIN := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
# With folders, because their time changes when a file is deleted.
SOURCES := setup.cfg setup.py MANIFEST.in $(wildcard README.md) $(shell find gigaclient certs -not -path '*__pycache__*' -not -name '.*')
PINS := requirements/pins.txt requirements/newest.txt

BUILD := .venv/build
TOOLS := .venv/tools
FUZZ := .venv/fuzz
DOCS := .venv/docs
BROWSER := .venv/browser
CLUSTERS := .venv/clusters
MUTANTS := .venv/mutants
NODE := .venv/node
DEPLOYMENT := .venv/deployment
PEERS := .venv/peers
OLD_PEERS := .venv/peers-floor
APPS := .venv/apps
TEST = .venv/test-$(MINOR)
OLDEST = .venv/floor-$(MINOR)
DEMO = .venv/demo-$(MINOR)

# The "pytest" script of the environment: "python -m pytest" would put the checkout on sys.path.
# Windows may skip what needs POSIX.
PYTEST = env -u PYTHONPATH $(1)/$(BIN)/pytest $(if $(filter Windows_NT,$(OS)),,--no-skips) $(WORKERS) $(ARGS)
INSTALL = $(1)/$(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --force-reinstall dist/gigaclient-*.whl && touch $(1)/.installed

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.SECONDARY:
.SECONDEXPANSION:
.PHONY: help demo soak fuzz test test-quick test-next coverage mutate lint format wheel sbom licenses test-all test-floor audit \
	bench bench-short apps browser clusters deployment nuitka peers peers-newest peers-oldest docs check release clean run-floor

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $$(DEMO)/.installed ## show both providers answer and stream; needs no key
	@env -u PYTHONPATH $(DEMO)/$(BIN)/gigaclient demo $(ARGS)

test: $$(TEST)/.installed ## build and install the wheel, run all tests on all cores
	@echo "Testing the installed package on Python $(MINOR), newest dependencies."
	@$(call PYTEST,$(TEST))

test-quick: $$(TEST)/.installed ## the tests that take no minute together, for the inner loop
	@$(call PYTEST,$(TEST)) -m "not slow"

test-next: dist/.built ## what needs no sockets or threads on CPython 3.14, in Node.js
	@scripts/test-next $(BUILD)/$(BIN)/python $(NODE) $(ARGS)

coverage: $$(TEST)/.installed ## measure which lines and branches of the core the tests run: build/coverage/index.html
	@scripts/measure-coverage $(TEST)/$(BIN) build/coverage $(WORKERS) $(ARGS)

mutate: $(MUTANTS)/.ready ## break the core in small ways and list what no test notices: make mutate ARGS=gigaclient/_core/retry.py
	@env -u PYTHONPATH $(MUTANTS)/$(BIN)/python scripts/mutate.py build/mutants $(ARGS)

lint: $(TOOLS)/.ready ## style and docstrings (ruff), prose, types (mypy --strict, pyright), also on the pages, and workflows
	@status=0; \
	$(TOOLS)/$(BIN)/ruff check --quiet --output-format concise . || status=1; \
	$(TOOLS)/$(BIN)/ruff format --check --quiet --output-format concise . || { status=1; echo "make format does that."; }; \
	$(TOOLS)/$(BIN)/python scripts/check_prose.py || status=1; \
	$(TOOLS)/$(BIN)/mypy gigaclient scripts/typed_user.py || status=1; \
	$(TOOLS)/$(BIN)/pyright --pythonpath $(TOOLS)/$(BIN)/python scripts/typed_user.py || status=1; \
	$(TOOLS)/$(BIN)/python scripts/check_wrong_uses.py || status=1; \
	$(TOOLS)/$(BIN)/python scripts/check_snippets.py build/snippets || status=1; \
	scripts/lint-workflows $(TOOLS)/$(BIN) $(NODE) || status=1; \
	exit $$status

format: $(TOOLS)/.ready ## let ruff format the code and fix what it can
	@$(TOOLS)/$(BIN)/ruff check --quiet --fix . ; $(TOOLS)/$(BIN)/ruff format .

wheel: dist/.built $(TOOLS)/.ready ## build and check; install wheel, sdist and checkout in clean environments
	@scripts/check-dist $(TOOLS)/$(BIN) dist
	@scripts/check-installs $(PYTHON)

sbom: dist/.built $(TOOLS)/.ready ## list what an installation of the wheel contains (CycloneDX), in build/sbom/
	@scripts/make-sbom $(TOOLS)/$(BIN) $(PYTHON) build/sbom

licenses: $$(TEST)/.installed ## write the licences of all dependencies to docs/licenses.md
	@$(TEST)/$(BIN)/python scripts/licenses.py

test-all: ## the tests on every Python we support
	@ran=; for version in $(VERSIONS); do \
		if python=$$(scripts/find-python $$version); then \
			$(MAKE) --no-print-directory test PYTHON=$$python || exit 1; ran="$$ran $$version"; \
		elif [ -n "$${CI:-}" ]; then exit 1; \
		else missing="$${missing:-} $$version"; fi; \
	done; echo "Passed on Python:$$ran.$${missing:+ NOT RUN, as not found:$$missing.}"

test-floor: ## the tests on the oldest allowed dependencies
	@if python=$$(scripts/find-python $(FLOOR)); then $(MAKE) --no-print-directory run-floor PYTHON=$$python; \
	elif [ -n "$${CI:-}" ]; then exit 1; \
	else echo "NOT RUN: the tests on the oldest dependencies need Python $(FLOOR)."; fi

run-floor: $$(OLDEST)/.installed
	@echo "Testing the installed package on Python $(MINOR), oldest dependencies."
	@$(call PYTEST,$(OLDEST))

browser: $(BROWSER)/.installed docs ## drive the example chat pages, the built site and JupyterLab in a headless Chromium; pictures go to outputs/
	@env -u PYTHONPATH $(BROWSER)/$(BIN)/pytest --no-skips --browser tests/browser $(ARGS)

clusters: $(CLUSTERS)/.installed ## many prompts on Dask and Celery (needs redis-server), and from pandas and polars
	@env -u PYTHONPATH $(CLUSTERS)/$(BIN)/pytest --no-skips --clusters tests/clusters $(ARGS)

deployment: $(DEPLOYMENT)/.installed ## run the recipes of docs/en/deployment.md (needs Apache, nginx and redis-server)
	@env -u PYTHONPATH $(DEPLOYMENT)/$(BIN)/pytest --no-skips --deployment tests/deployment $(ARGS)

nuitka: $(DEPLOYMENT)/.installed ## run the recipe for Nuitka of docs/en/deployment.md (needs gcc); some minutes
	@env -u PYTHONPATH $(DEPLOYMENT)/$(BIN)/pytest --no-skips --deployment --nuitka tests/deployment/test_nuitka.py $(ARGS)

# The warnings of these libraries are not ours.
PEERS_PYTEST = env -u PYTHONPATH $(1)/$(BIN)/pytest --no-skips --peers -o filterwarnings=default --disable-warnings

peers: peers-newest peers-oldest ## LangChain, llm, FastAPI, the official SDK, litellm and others, newest and oldest

peers-newest: $(PEERS)/.installed ## the newest versions of the libraries of "make peers"
	@$(call PEERS_PYTEST,$(PEERS)) tests/peers $(ARGS)

peers-oldest: $(OLD_PEERS)/.installed ## the oldest versions of the libraries of "make peers"
	@$(call PEERS_PYTEST,$(OLD_PEERS)) tests/peers tests/contrib/opentelemetry $(ARGS)

apps: $(APPS)/.installed ## run the chat pages on Streamlit and Gradio that docs/en/web.md shows
	@env -u PYTHONPATH $(APPS)/$(BIN)/pytest --no-skips -p no:unraisableexception --apps tests/apps $(ARGS)

docs: $(DOCS)/.ready ## build the documentation site in both languages: build/docs/index.html
	@scripts/build-docs $(DOCS)/$(BIN)/python build/docs

audit: $(TOOLS)/.ready ## search the dependencies for known vulnerabilities
	@$(TOOLS)/$(BIN)/python scripts/audit.py

bench: .venv/bench/.ready dist/.built ## compare with all other clients, write benchmarks/RESULTS.md; an hour
	@env -u PYTHONPATH .venv/bench/$(BIN)/python benchmarks $(ARGS)

bench-short: $$(TEST)/.installed ## fail when a ratio to requests or urllib3 is worse than before
	@env -u PYTHONPATH $(TEST)/$(BIN)/python benchmarks --short $(ARGS)

check: lint test ## everything that has to pass before a change is merged
	@$(MAKE) --no-print-directory test-all VERSIONS="$(filter-out $(MINOR),$(VERSIONS))"
	@$(MAKE) --no-print-directory test-floor test-next wheel sbom demo docs browser clusters deployment
	@$(MAKE) --no-print-directory peers-newest peers-oldest audit soak bench-short
	@$(TOOLS)/$(BIN)/python scripts/release.py --record-green

release: $(BUILD)/.ready $(TOOLS)/.ready ## check, set the version, build and tag; publishes nothing: make release VERSION=0.2.0
	@$(TOOLS)/$(BIN)/python scripts/release.py "$(VERSION)" scripts/build-release $(BUILD)/$(BIN)/python $(TOOLS)/$(BIN) dist

soak: $$(TEST)/.installed ## many threads against a server with faults: make soak SECONDS=600
	@env -u PYTHONPATH $(TEST)/$(BIN)/python scripts/soak.py $(SECONDS)

fuzz: $(FUZZ)/.installed ## search for bytes that break the parsers: make fuzz SECONDS=600
	@env -u PYTHONPATH $(FUZZ)/$(BIN)/python fuzz/run.py $(FUZZ)/corpus $(SECONDS)

clean: ## remove everything that these commands created
	rm -rf .venv dist build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- environments ---------------------------------------------------------------------------------------------------------

$(BUILD)/.ready: requirements/build.txt requirements/pins.txt
	@scripts/make-venv $(@D) $(PYTHON) "building" -r requirements/build.txt

$(TOOLS)/.ready: requirements/tools.txt requirements/test.txt $(PINS)
	@scripts/make-venv $(@D) $(PYTHON) "style, types and audit" -r requirements/tools.txt -r requirements/test.txt -r requirements/newest.txt

$(FUZZ)/.ready: requirements/fuzz.txt $(PINS)
	@scripts/make-venv $(@D) $(PYTHON) "fuzzing" -r requirements/fuzz.txt -r requirements/newest.txt

$(MUTANTS)/.ready: requirements/mutants.txt requirements/test.txt $(PINS)
	@scripts/make-venv $(@D) $(PYTHON) "mutants" -r requirements/mutants.txt -r requirements/newest.txt

$(DOCS)/.ready: requirements/docs.txt
	@scripts/make-venv $(@D) $(PYTHON) "the documentation" -r requirements/docs.txt

# With the extras that the examples need.
$(BROWSER)/.ready: requirements/browser.txt requirements/test.txt setup.cfg $(PINS) | dist/.built
	@scripts/make-venv $(@D) $(PYTHON) "the browser" -r requirements/browser.txt -c requirements/test.txt -c requirements/newest.txt "$$(echo dist/gigaclient-*.whl)[django,flask,jupyter,testing]"
	@npm install --prefix $(@D)/node --no-save --no-audit --no-fund --silent axe-core@4.14.1 htmx.org@4.0.1 \
		markdown-it@15.0.3 @vscode/markdown-it-katex@1.1.2

$(CLUSTERS)/.ready: requirements/clusters.txt requirements/test.txt setup.cfg $(PINS) | dist/.built
	@scripts/make-venv $(@D) $(PYTHON) "clusters" -r requirements/clusters.txt -c requirements/test.txt -c requirements/newest.txt "$$(echo dist/gigaclient-*.whl)[django,testing]"

$(DEPLOYMENT)/.ready: requirements/deployment.txt requirements/test.txt setup.cfg $(PINS) | dist/.built
	@scripts/make-venv $(@D) $(PYTHON) "deployment" -r requirements/deployment.txt -c requirements/test.txt -c requirements/newest.txt "$$(echo dist/gigaclient-*.whl)[django,flask,testing]" fastapi gunicorn uvicorn

$(PEERS)/.ready: requirements/peers.txt
	@scripts/make-venv $(@D) $(PYTHON) "LangChain, llm and their like" --no-deps -r requirements/peers.txt

$(OLD_PEERS)/.ready: requirements/peers-floor.txt
	@scripts/make-venv $(@D) $(PYTHON) "the oldest LangChain, llm and their like" --no-deps -r requirements/peers-floor.txt

$(APPS)/.ready: requirements/apps.txt
	@scripts/make-venv $(@D) $(PYTHON) "the apps" -r requirements/apps.txt

.venv/test-%/.ready: requirements/test.txt $(PINS)
	@scripts/make-venv $(@D) $(PYTHON) "the tests" -r requirements/test.txt -r requirements/newest.txt

.venv/floor-%/.ready: requirements/test.txt requirements/floor.txt requirements/pins.txt
	@scripts/make-venv $(@D) $(PYTHON) "the tests on the oldest dependencies" -r requirements/test.txt -r requirements/floor.txt

# For the measuring code; the measured packages are in folders inside (benchmarks/environments.py).
.venv/bench/.ready: requirements/bench.txt
	@scripts/make-venv $(@D) $(PYTHON) "the benchmark" -c requirements/bench.txt matplotlib trustme certifi

# With the extra alone, so that the demo runs as for a user of gigaclient[testing].
.venv/demo-%/.ready: requirements/test.txt setup.cfg $(PINS) | dist/.built
	@scripts/make-venv $(@D) $(PYTHON) "the demo" -c requirements/test.txt -c requirements/newest.txt "$$(echo dist/gigaclient-*.whl)[testing]"

.venv/%/.installed: .venv/%/.ready dist/.built
	@$(call INSTALL,$(@D))

dist/.built: $(BUILD)/.ready $(SOURCES)
	@scripts/build-dist $(BUILD)/$(BIN)/python dist
