# make demo    a model trained on the text that Python itself carries, and what it writes
# make test    all tests
# make lint    ruff, mypy, cython-lint, and the C compiler's warnings as errors
# make bench   kernels and one model, NumPy against compiled
# make docs    the guide, into build/site
# make sanitize   the kernels' tests under AddressSanitizer and UndefinedBehaviorSanitizer
# make arm64   the kernels' tests on arm64, cross-compiled and emulated (Debian or Ubuntu)
# make clean   removes what these made
#
# They work in .venv (VENV=... names another place), made with python3 (PYTHON=...).

VENV ?= .venv
PYTHON ?= python3
CC ?= cc
BIN = $(VENV)/bin
SANITIZED = build/sanitize
SANITIZERS = -fsanitize=address,undefined -fno-sanitize-recover=undefined

# An installation is editable: Python files are live, and changed C is built again by the next make.
BUILT_FROM = setup.py pyproject.toml $(shell find csrc -type f)
WITH_CLI = $(VENV)/installed-cli
WITH_TEST = $(VENV)/installed-test
WITH_DEV = $(VENV)/installed-dev

.PHONY: demo test lint bench docs sanitize arm64 clean

demo: $(WITH_CLI)
	test -f demo/model.safetensors || $(BIN)/litegpt train --out demo
	$(BIN)/litegpt generate --model demo --max-new-tokens 300 --seed 1

test: $(WITH_TEST)
	$(BIN)/pytest

lint: $(WITH_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(BIN):$$PATH" cython-lint csrc
	LITEGPT_REQUIRE_NATIVE=1 LITEGPT_WERROR=1 $(BIN)/python setup.py --quiet build_ext --force \
	    --build-lib build/lint --build-temp build/lint

bench: $(WITH_DEV)
	$(BIN)/litegpt bench

docs: $(WITH_DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet -f docs/site/mkdocs.yml

# Python is not built with the sanitizers, so their runtime has to be loaded before it; what CPython
# itself never frees would drown the leaks of ours.
sanitize: $(WITH_TEST)
	CFLAGS="$(SANITIZERS) -O1 -g -fno-omit-frame-pointer" LDFLAGS="$(SANITIZERS)" \
	    LITEGPT_REQUIRE_NATIVE=1 $(BIN)/python setup.py --quiet build \
	    --build-lib $(SANITIZED)/lib --build-temp $(SANITIZED)/temp
	LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libubsan.so)" \
	    ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	    PYTHONPATH=$(SANITIZED)/lib $(BIN)/pytest tests/kernels

arm64:
	.ci/arm64

clean:
	rm -rf $(VENV) build dist demo *.egg-info litegpt/kernels/_native.*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(WITH_CLI): $(BUILT_FROM) | $(BIN)/python
	$(BIN)/pip install --quiet -e '.[cli]'
	touch $@

$(WITH_TEST): $(BUILT_FROM) | $(BIN)/python
	$(BIN)/pip install --quiet -e '.[test]'
	touch $(WITH_CLI) $@

$(WITH_DEV): $(BUILT_FROM) | $(BIN)/python
	$(BIN)/pip install --quiet -e '.[dev]'
	touch $(WITH_CLI) $(WITH_TEST) $@
