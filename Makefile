# Everything a developer does here. `make up` and `make test` do all their own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
STAMP := $(VENV)/.installed
COMPILED := $(VENV)/.compiled
NODE_TESTS := $(patsubst %,tests/system/%/node_modules/.installed,axe cache_tests)
APT := chromium nginx haproxy varnish wrk redis-server fonts-noto-core $(if $(shell command -v npm),,nodejs npm)

.PHONY: up test test-fast lint bench fuzz soak docs compile interpreted format lock clean system-packages

up: $(COMPILED)  ## the whole WeddingLK stack on embedded parts, until Ctrl-C
	$(BIN)/poruwa up --policy src/weddinglk/site.toml $(ARGS)

test: $(COMPILED) system-packages $(NODE_TESTS)  ## every test
	$(BIN)/pytest $(ARGS)

test-fast: $(COMPILED)  ## the tests that need no server
	$(BIN)/pytest tests/unit tests/spec -n auto $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@twice=$$(find tests -name 'test_*.py' | sed 's|.*/||' | sort | uniq -d); test -z "$$twice" || \
	  { echo "each test module needs a name of its own: $$twice"; exit 1; }

bench: $(COMPILED) system-packages  ## side by side with nginx and HAProxy, into bench/results
	$(BIN)/python -m bench $(ARGS)

fuzz: $(STAMP)  ## ten minutes over the parsers of untrusted bytes
	$(BIN)/python -m tests.fuzz --seconds 600 $(ARGS)

soak: $(COMPILED)  ## ten minutes of writes, reads and faults: nothing stale may be read
	$(BIN)/python -m tests.coherence --seconds 30 --fault-seconds 570 $(ARGS)

docs: $(STAMP)  ## write the generated pages
	$(BIN)/python -m poruwa.config.reference
	$(BIN)/python -m poruwa.gateway.request_path

compile: $(COMPILED)  ## the gateway's hot modules, where a C compiler is

interpreted: $(STAMP)  ## run them as Python again
	$(BIN)/python tools/compile.py --clean
	rm -f $(COMPILED)

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Versions and hashes only; where packages come from is the business of each machine.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --all-extras --group dev \
	  pyproject.toml -o requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# The same source, compiled: docs/decisions/0003.
$(COMPILED): $(STAMP) tools/compile.py $(wildcard src/poruwa/stores/*.py src/poruwa/net/*.py src/poruwa/rules/*.py src/poruwa/gateway/*.py src/poruwa/observe/*.py)
	@if command -v cc >/dev/null || command -v gcc >/dev/null; then \
	  echo "compiling the gateway's hot modules (about a minute, once)"; $(BIN)/python tools/compile.py; \
	else echo "no C compiler: the gateway runs interpreted, at about half the speed"; fi
	@touch $@

# Programs that tests run beside ours. Where they cannot be installed, those tests are skipped and
# say why.
system-packages:
	@missing=""; for each in $(APT); do \
	  dpkg-query -W -f '$${Status}' $$each 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$each"; \
	done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing$$missing"; \
	    apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
	      || echo "could not install$$missing: tests that need them are skipped"; \
	  else echo "not installed:$$missing: tests that need them are skipped"; fi; \
	fi

$(NODE_TESTS): %/node_modules/.installed: %/package-lock.json
	@if command -v npm >/dev/null; then cd $* && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.installed; \
	else echo "npm is not installed: the tests that need $* are skipped"; fi

clean:
	find src -name '*.so' -delete
	rm -rf $(VENV) build dist state .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache $(dir $(NODE_TESTS))
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
