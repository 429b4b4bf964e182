# make demo    install into .venv and fit the breast-cancer data (examples/gbsg2_survival.py)
# make test    install into .venv, then run ctest and pytest
# make check   the extended form of it: slow tests, fuzzers, sanitizers, oldest and newest JAX
# make asan    the C++ tests under the address and undefined-behaviour sanitizers; make tsan: threads
# make lint    formatting, lint and types
# make bench   compare speed with other tools (benchmarks/README.md); BENCH=--quick for a short run
# make clean   remove everything that these commands made
#
# Needs Python 3.11 or newer with venv, a C++17 compiler and make; the rest comes from PyPI.
PYTHON ?= python3
JOBS ?= $(shell getconf _NPROCESSORS_ONLN)
PYTEST_JOBS := --numprocesses $(JOBS) --dist worksteal
FUZZ_SECONDS ?= 60

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install
CMAKE_ARGS := -G Ninja -DPython_EXECUTABLE="$(CURDIR)/$(BIN)/python"
SOURCES := $(shell find cpp python cmake -type f ! -path '*/__pycache__/*') CMakeLists.txt pyproject.toml

TEST_SOURCES := $(shell find tests/cpp tests/fuzz -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt)
OLDEST_JAX := $(shell sed -n 's/^  "jax>=\(.*\)",$$/\1/p' pyproject.toml)
BOOST := $$($(BIN)/python -c "import boost_headers; print(*boost_headers.__path__)")/include

.PHONY: demo test ctest pytest check extended fuzz jaxes asan tsan lint bench clean

demo: $(VENV)/.demo
	$(BIN)/python examples/gbsg2_survival.py

test: ctest pytest

ctest: $(VENV)/.test
	$(BIN)/ctest --test-dir build/test --output-on-failure --no-tests=error --parallel $(JOBS)

pytest: $(VENV)/.test ctest
	$(BIN)/python -m pytest $(PYTEST_JOBS)

check: test extended fuzz jaxes asan tsan

extended: $(VENV)/.test $(VENV)/.check
	$(BIN)/python -m pytest $(PYTEST_JOBS) -m extended

fuzz: $(VENV)/.test
	PATH="$(CURDIR)/$(BIN):$$PATH" python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) --jobs $(JOBS)

# One wheel, built against the XLA headers of the oldest JAX, must serve both.
jaxes: $(VENV)/.test
	rm -rf build/wheel
	$(BIN)/python -m pip --disable-pip-version-check wheel . --no-deps -w build/wheel
	$(call run_with_jax,oldest,jax==$(OLDEST_JAX) jaxlib==$(OLDEST_JAX))
	$(call run_with_jax,newest,jax)

asan tsan: $(VENV)/.test
	$(call run_preset,$@)

lint: $(VENV)/.dev
	$(BIN)/ruff check python tests examples benchmarks
	$(BIN)/mypy

bench:
	$(PYTHON) benchmarks/bench.py $(BENCH)

clean:
	rm -rf $(VENV) build dist gbsg2.png spectrum.png

# The default tests, in an environment of its own, under the JAX that the second argument names.
define run_with_jax
	$(PYTHON) -m venv --clear build/jax-$(1)
	build/jax-$(1)/bin/python -m pip --disable-pip-version-check install --upgrade \
	  "$$(ls build/wheel/*.whl)[test]" $(2)
	build/jax-$(1)/bin/python -c "import jax; print('JAX', jax.__version__)"
	build/jax-$(1)/bin/python -m pytest $(PYTEST_JOBS)
endef

# Configures, builds and tests one preset of CMakePresets.json.
define run_preset
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --preset $(1) $(CMAKE_ARGS)
	$(BIN)/cmake --build build/$(1) --parallel $(JOBS)
	PATH="$(CURDIR)/$(BIN):$$PATH" ctest --preset $(1) --parallel $(JOBS)
endef

# Stamp files: each step runs again only when what it depends on has changed.
$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
	  "phasic needs Python 3.11 or newer, found " + sys.version.split()[0] + "; use make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.package: $(VENV)/.created $(SOURCES)
	$(PIP) .
	touch $@

# One build makes the extension and the C++ tests (build/test), so that nothing is compiled twice.
$(VENV)/.test: $(VENV)/.created $(SOURCES) $(TEST_SOURCES)
	$(PIP) boost-headers cmake
	$(PIP) . -Cbuild-dir=build/test -Ccmake.define.PHASIC_BUILD_TESTS=ON \
	  -Ccmake.define.PHASIC_WERROR=ON -Ccmake.define.PHASIC_BOOST_INCLUDE_DIR="$(BOOST)"
	$(PIP) "phasic-xla[test]"
	touch $(VENV)/.package $@

# The extras of the package that is already installed.
$(VENV)/.demo $(VENV)/.dev $(VENV)/.check: $(VENV)/.%: $(VENV)/.package
	$(PIP) "phasic-xla[$*]"
	touch $@
