# make demo   set everything up and run the main job
# make test   set everything up and run the tests
# The others: lint, conformance, downstream, chaos, bench, docs, clean. See CONTRIBUTING.md.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
SOURCES := pyproject.toml setup.py $(wildcard csrc/*/*.c csrc/*/*.h)

# Interpreters to test with: any CPython >= 3.11 that can be found. `make conformance PYTHONS="/path/to/python3.13"`.
PYTHONS ?= $(shell $(PYTHON) tests/find_pythons.py)

# A child that had to compile this library anew would be measured with the compiler.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test test-portable test-posix test-each lint wheels conformance downstream chaos bench c-test musl-test arm64 windows wheel-windows docs clean

$(VENV)/installed: $(SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip setuptools wheel
	POLYPROC_CRASHPOINTS=1 $(PIP) --no-build-isolation --editable '.[test,lint,bench,cli]'
	@$(BIN)/python -c "import polyproc; print(polyproc.native)"
	touch $@

demo: $(VENV)/installed
	$(BIN)/python demo/main.py

test: $(VENV)/installed
	POLYPROC_NATIVE=require $(BIN)/python -m pytest tests

test-portable: $(VENV)/installed
	POLYPROC_NATIVE=off $(BIN)/python -m pytest tests --ignore=tests/architecture -m "not chaos"

# With nothing of what Linux alone has (docs/adr/0045), as on other POSIX systems. `make test-posix TESTS=tests/behaviour/test_pool.py`.
test-posix: $(VENV)/installed
	POLYPROC_PLATFORM=posix $(BIN)/python -m pytest $(or $(TESTS),tests/behaviour) -m "not chaos"

# What depends on the version; with ALL=1, all tests.
test-each:
	$(PYTHON) tests/each_python.py $(if $(ALL),--all) --others $(PYTHONS)

# With and without a compiler: what an installation is, with every CPython found. The sdist and the wheel are then in dist.
wheels: $(VENV)/installed
	$(BIN)/python tests/wheels.py $(PYTHONS)
	$(BIN)/python tests/free_threaded.py --run $(PYTHONS)

lint: $(VENV)/installed
	$(BIN)/ruff check src tests bench demo examples docs setup.py
	$(BIN)/ruff check --preview --select PLW1514 src
	$(BIN)/ruff format --check src tests bench demo examples docs setup.py
	$(BIN)/mypy
	$(BIN)/mypy bench
	$(BIN)/mypy demo
	$(BIN)/mypy tests/types/seen_by_checkers.py
	$(BIN)/python tests/types/verify.py
	$(BIN)/mypy --platform win32 --follow-imports silent --no-warn-unused-ignores $(FOR_WINDOWS)
	$(BIN)/lint-imports
	$(BIN)/python tests/architecture/stores.py
	$(BIN)/codespell README.md CONTRIBUTING.md CHANGELOG.md docs src csrc tests bench demo examples
	POLYPROC_BUILD=strict $(BIN)/python setup.py --quiet build_ext --build-temp build/strict --build-lib build/strict
	$(BIN)/python tests/free_threaded.py $(PYTHONS)

FOR_WINDOWS := $(wildcard src/polyproc/*/windows_*.py)

C_TEST := $(CC) -std=gnu11 -g -O1 -Wall -Wextra -Werror -fno-sanitize-recover=all -Icsrc -pthread
CORE := $(wildcard csrc/core/*.c)
STEPS := -iquote csrc/tests/steps -DPP_CRASHPOINTS -Wl,--wrap=pp_crash_here,--wrap=pp_is_dead,--wrap=pp_futex_wait

c-test:
	mkdir -p build
	$(C_TEST) -fsanitize=address,undefined $(CORE) csrc/tests/test_clone.c -o build/test_clone
	build/test_clone
	$(C_TEST) -fsanitize=address,undefined $(CORE) csrc/tests/test_parking.c -o build/test_parking
	build/test_parking
	$(C_TEST) -fsanitize=address,undefined $(CORE) csrc/tests/test_named.c -o build/test_named
	build/test_named
	$(C_TEST) -fsanitize=address,undefined $(CORE) csrc/tests/test_sync.c -o build/test_sync
	build/test_sync
	$(C_TEST) -fsanitize=thread $(CORE) csrc/tests/test_sync.c -o build/test_threads
	build/test_threads threads
	$(C_TEST) -fsanitize=address,undefined $(CORE) csrc/tests/test_queue.c -o build/test_queue
	build/test_queue
	$(C_TEST) -fsanitize=thread $(CORE) csrc/tests/test_queue.c -o build/test_queue_threads
	build/test_queue_threads threads
	$(C_TEST) -fsanitize=address,undefined $(CORE) csrc/tests/test_threads.c -o build/test_use
	build/test_use
	$(C_TEST) -fsanitize=thread $(CORE) csrc/tests/test_threads.c -o build/test_use_threads
	build/test_use_threads
	$(C_TEST) -fsanitize=address,undefined $(CORE) csrc/tests/test_handoff.c -o build/test_handoff
	build/test_handoff
	$(C_TEST) -fsanitize=thread $(CORE) csrc/tests/test_handoff.c -o build/test_handoff_threads
	build/test_handoff_threads threads
	$(C_TEST) $(STEPS) -fsanitize=address,undefined $(CORE) csrc/tests/test_handoff_steps.c -o build/test_handoff_steps
	build/test_handoff_steps
	$(if $(MUSL),$(MAKE) musl-test)

# With another C library, where its compiler is there (Debian: musl-tools).
MUSL := $(shell command -v musl-gcc)
SYSTEM_HEADERS := $(addprefix -idirafter ,/usr/include $(wildcard /usr/include/$(shell $(CC) -dumpmachine)))

musl-test:
	mkdir -p build
	for name in test_named test_sync test_queue; do \
		musl-gcc -std=gnu11 -g -O1 -Wall -Wextra -Icsrc -pthread -static $(SYSTEM_HEADERS) $(CORE) csrc/tests/$$name.c \
			-o build/musl_$$name && build/musl_$$name || exit 1; \
	done

# A whole emulated machine. Not for .ci/run: it needs a cross compiler, an emulator and a Debian mirror.
arm64:
	$(PYTHON) tests/machines/arm64.py $(TESTS)

# The tests of tests/windows by a CPython for Windows, under Wine. `make windows WINDOWS=--quick`, or words of their names.
windows:
	$(PYTHON) tests/windows/main.py $(WINDOWS)

# The wheel for Windows, which has no C in it (docs/adr/0047), and the founding document's programs with it, under Wine.
wheel-windows: $(VENV)/installed
	rm -rf dist/windows
	POLYPROC_BUILD=pure $(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-build-isolation --no-deps -w dist/windows .
	$(PYTHON) tests/windows/main.py --wheel dist/windows

conformance:
	$(PYTHON) tests/conformance/harness.py $(CONFORMANCE) $(PYTHONS)

# Other people's programs. `make downstream PROGRAMS=--quick`, or words of their names.
downstream:
	$(PYTHON) tests/downstream/main.py $(PROGRAMS)

chaos: $(VENV)/installed
	POLYPROC_SEEDS=new $(BIN)/python -m pytest tests/chaos -m "chaos or not chaos"
	POLYPROC_SCHEDULER_STEPS=20000 $(BIN)/python -m pytest tests/unit/test_scheduler.py

bench: $(VENV)/installed
	$(BIN)/python -m compileall -q src bench
	$(BIN)/python bench/main.py
	$(BIN)/python bench/hosts.py

docs: $(VENV)/installed
	$(BIN)/python docs/build.py
	$(BIN)/python -m pytest tests/architecture -k "docs or readme or where"

clean:
	rm -rf build dist .venv* src/*.egg-info src/polyproc/*.so
