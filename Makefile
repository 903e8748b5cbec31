# The project's commands. `make demo` and `make test` do all set-up themselves on a bare Debian machine: system
# packages, a virtual environment in $(VENV), the build. A second run starts at once: stamp files in $(VENV) say what
# is there, and a change to pyproject.toml, setup.py or csrc/ builds again.
#
#   make demo                      walk, read and verify Python's standard library, serve it over HTTP, compare
#   make test                      the tests                    make test PYTEST_ARGS="-k read_file -x"
#   make lint sanitize bench       what CI runs beside them
#
# PYTHON picks the interpreter (3.11 or newer), VENV the environment: make test PYTHON=python3.13 VENV=.venv-3.13

PYTHON ?= python3
VENV ?= .venv
PYTEST_ARGS ?=
DEMO_ARGS ?=
BENCH_ARGS ?=

BIN := $(VENV)/bin
CSRC := $(wildcard csrc/*.[ch] csrc/*/*.[ch])
VENDORED := $(wildcard vendor/libuv/CMakeLists.txt vendor/libdeflate/libdeflate.h)
SOURCES := pyproject.toml setup.py csrc/ffi_build.py $(CSRC) $(VENDORED)
C_FILES := $(CSRC) $(wildcard tests/c/*.[ch] benchmarks/peers/*.[ch])
# What may use nothing that is newer than the oldest Python; in tests, some of what newer ones brought is tested.
PYTHON_3_11 := src setup.py csrc scripts benchmarks examples
TIDY_FLAGS = -std=gnu11 -Icsrc -Icsrc/engine -Icsrc/core -Icsrc/asyncio \
	-isystem $(shell $(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))')

.PHONY: demo test lint sanitize bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.built
	$(BIN)/python examples/filewalk.py $(DEMO_ARGS)
	$(BIN)/python examples/fileserver_demo.py

test: $(VENV)/.built $(VENV)/.servers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: $(VENV)/.built
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

lint: $(VENV)/.built
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/vermin --quiet --no-tips --violations --target=3.11- $(PYTHON_3_11)
	$(BIN)/clang-format --dry-run -Werror $(C_FILES)
	@echo $(filter %.c,$(CSRC)) | xargs -n 4 -P "$$(nproc)" sh -c '$(BIN)/clang-tidy --quiet "$$@" -- $(TIDY_FLAGS)' tidy
	UVWORKS_WERROR=1 $(BIN)/python setup.py -q build_ext --build-temp build/werror --build-lib build/werror

# Its own environment, because a sanitizer build must not replace the normal one.
sanitize: $(VENV)/.built $(VENV)/.servers
	scripts/sanitize.sh $(PYTHON) $(VENV)-sanitize $(PYTEST_ARGS)

clean:
	rm -rf $(VENV) $(VENV)-sanitize build dist src/*.egg-info src/uvworks/*.so

# A stamp for each PYTHON: another interpreter makes the environment anew.
CREATED := $(VENV)/.created-$(subst /,_,$(PYTHON))

$(CREATED): scripts/system_packages.sh
	scripts/system_packages.sh $(PYTHON)
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

$(VENV)/.servers: $(CREATED)
	scripts/system_packages.sh $(PYTHON) test
	touch $@

$(VENV)/.built: $(CREATED) $(SOURCES)
	$(BIN)/python -m pip install -q 'setuptools>=77' 'cffi>=1.17'
	$(BIN)/python -m pip install -q --no-build-isolation -e '.[test,lint,bench]'
	touch $@
