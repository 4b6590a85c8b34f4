"""Run CPython's own multiprocessing tests, as installed with an interpreter, with polyproc under their name.

    python tests/conformance/harness.py PYTHON [PYTHON ...] [--methods fork,spawn,forkserver] [--only REGEX]
                                        [--update] [--stdlib] [--jobs N] [--limit SECONDS] [--verbose]
                                        [--brief-from VERSION]

For each interpreter and start method: one process for each test class, a limit for each test. A test of which nothing
is heard for that long, and whose processes hardly work, has hung: the stacks of its threads are printed, and the rest of
its class goes on in another process. One whose processes are busy may take a few limits more: those of 3.15 have two
hundred children that import the tests, which takes minutes beside others. `expected/<version>.txt` lists what must pass; it only grows (`--update` adds what passes now). Exit status 1
when something on the list does not pass, or hangs.

--brief-from 3.14: with versions from that one on, only their default start method, fork server.

`standard/<version>.txt` lists what passes on the standard library itself (--stdlib --update, by hand); what is on it
and does not pass here stands in docs/drop-in.md, with the reason.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
METHODS = ("fork", "spawn", "forkserver")
MAX_LIMITS = 4  # limits that a test may take while its processes work
BUSY = 0.05  # of a processor
MAIN_HANDLING = "test.test_multiprocessing_main_handling"

Key = tuple[str, str, str]  # start method, class, test


class Python:
    """An interpreter to test with: its environment, with polyproc in it."""

    def __init__(self, executable: str, stdlib: bool) -> None:
        out = subprocess.check_output([executable, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"])
        self.version = out.decode().strip()
        self.short = ".".join(self.version.split(".")[:2])
        self.stdlib = stdlib
        self.environment = ROOT / f".venv-conformance-{self.short}"
        self.python = str(self.environment / "bin" / "python") if not stdlib else executable
        if not stdlib:
            self._prepare(executable)

    def _prepare(self, executable: str) -> None:
        if not Path(self.python).exists():
            subprocess.check_call([executable, "-m", "venv", str(self.environment)])
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
        pip = [self.python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.check_call([*pip, "--upgrade", "setuptools", "wheel", "cloudpickle"], env=env)
        install = [*pip, "--no-build-isolation", "--no-deps", "--force-reinstall", str(ROOT)]
        subprocess.check_call(install, env=env)
        out = subprocess.check_output([self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"])
        site = Path(out.decode().strip())
        # In every Python of this environment, whatever its flags, multiprocessing means polyproc.
        (site / "polyproc_alias.pth").write_text("import polyproc; polyproc.install()\n")

    @property
    def expected_file(self) -> Path:
        """The list of what must pass with this version."""
        return HERE / ("standard" if self.stdlib else "expected") / f"{self.short}.txt"


class Run:
    """One class of tests under one start method."""

    def __init__(self, python: Python, folder: str, method: str, module: str, limit: float) -> None:
        self.python = python
        self.folder = folder
        self.method = method
        self.module = module
        self.limit = limit

    def _start(self, class_name: str, done: set[str]) -> tuple[subprocess.Popen[bytes], int, int]:
        read_fd, write_fd = os.pipe()
        os.set_inheritable(write_fd, True)
        command = [self.python.python, str(HERE / "worker.py"), str(write_fd), self.module, class_name]
        env = {**os.environ, "PYTHONPATH": self.folder}
        env.pop("PYTHONDONTWRITEBYTECODE", None)
        output = tempfile.TemporaryFile()
        process = subprocess.Popen(
            [*command, ",".join(done)],
            pass_fds=[write_fd],
            cwd=tempfile.mkdtemp(dir=self.folder),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        os.close(write_fd)
        return process, read_fd, os.dup(output.fileno())

    def classes(self) -> dict[str, list[str]]:
        """Return the classes of the module and their tests."""
        process, read_fd, output = self._start("?", set())
        with os.fdopen(read_fd) as file:
            line = file.read()
        process.wait()
        if not line:
            os.lseek(output, 0, os.SEEK_SET)
            raise RuntimeError(f"{self.module} cannot be loaded:\n{os.read(output, 20000).decode(errors='replace')}")
        os.close(output)
        names: dict[str, list[str]] = json.loads(line)
        return names

    def run_class(self, class_name: str, tests: list[str]) -> dict[str, tuple[str, str]]:
        """Return (status, detail) for each test."""
        results = {test: ("left out", why) for (name, test), why in NOT_RUN.items() if name == class_name}
        while True:
            current = self._run_some(class_name, results)
            if current is None or results.keys() >= set(tests):
                return results

    def _run_some(self, class_name: str, results: dict[str, tuple[str, str]]) -> str | None:
        """Run what is left, until the end or a hang or crash; return the test that did that."""
        process, read_fd, output = self._start(class_name, set(results))
        current = None
        status = "crashed"
        before = len(results)
        for event in self._events(read_fd, process.pid):
            if event is None:
                status = "hung"
                break
            if event["status"] == "started":
                current = event["test"]
            else:
                name = event["test"]
                if " " not in name and not name.startswith("setUp"):
                    if results.get(name, ("", ""))[0] != "failed":
                        results[name] = (event["status"], event["detail"])
                else:
                    results[f"({name})"] = (event["status"], event["detail"])
                current = None
        if status == "hung":
            try:
                os.kill(process.pid, signal.SIGUSR2)
                time.sleep(0.5)
            except ProcessLookupError:
                pass
        self._kill(process)
        os.close(read_fd)
        if current is not None:
            os.lseek(output, 0, os.SEEK_SET)
            results[current] = (status, os.read(output, 1 << 20).decode(errors="replace")[-3000:])
        elif status == "hung":
            current = f"(after {len(results)} tests)"
            results[current] = (status, "between two tests, or at the end")
        os.close(output)
        return current if current is not None and len(results) > before else None

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        """End the test process and everything of its session."""
        try:
            process.wait(timeout=10 if process.poll() is None else 0)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def _events(self, fd: int, session: int):  # type: ignore[no-untyped-def]
        """Yield what the worker says; None when it is silent for too long."""
        selector = selectors.DefaultSelector()
        selector.register(fd, selectors.EVENT_READ)
        buffer = b""
        while True:
            waits, before = 1, work_of(session)
            while not selector.select(self.limit):
                now = work_of(session)
                if waits == MAX_LIMITS or now - before < BUSY * self.limit:
                    yield None
                    return
                waits, before = waits + 1, now
            data = os.read(fd, 65536)
            if not data:
                return
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                yield json.loads(line)


def work_of(session: int) -> float:
    """Return for how many seconds the processes of a session, and their children that were reaped, have worked."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = file.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[3]) == session:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def write_modules(folder: str, method: str) -> str:
    """Write the test module of a start method where children can import it, too; return its name."""
    name = f"conformance_{method}"
    Path(folder, name + ".py").write_text(
        "import test._test_multiprocessing\n"
        f"test._test_multiprocessing.install_tests_in_module_dict(globals(), {method!r})\n"
    )
    return name


# Not run, on either side, with the reason.
NOT_RUN = {
    ("WithThreadsTestPool", "test_terminate"): "3.12.1 has it sleep for five minutes in a thread",
    **{
        (
            f"ProcessPool{method}ProcessPoolExecutorTest",
            name,
        ): "its calls wait for ever: a killed worker ends its own alone"
        for method in ("Fork", "Spawn", "Forkserver")
        for name in ("test_broken_process_pool_traceback",)
    },
    **{
        (f"ProcessPool{method}ProcessPoolExecutorTest", name): "it waits 30 s for a private part that is not there"
        for method in ("Fork", "Spawn", "Forkserver")
        for name in ("test_gc_during_max_tasks_worker_exit_gh152967", "test_shutdown_no_wait_max_tasks_gh119592")
    },
}

EXECUTOR_TESTS = """
import importlib, pkgutil
collected = set()
try:
    import test.test_concurrent_futures as package
except ImportError:  # not installed with this Python
    package = None
for found in pkgutil.iter_modules(package.__path__) if hasattr(package, "__path__") else ():
    if found.name.startswith("test_"):
        module = importlib.import_module("test.test_concurrent_futures." + found.name)
        for name, value in list(vars(module).items()):
            if name.startswith("ProcessPool{prefix}") and not name[len("ProcessPool{prefix}"):].startswith("server"):
                globals()["{word}" + name] = value
                collected.add("{word}" + name)
"""
WITH_OUR_EXECUTOR = """
import concurrent.futures.process
import polyproc.pool
from polyproc._base.errors import RemoteTraceback
concurrent.futures.ProcessPoolExecutor = polyproc.pool.ProcessPoolExecutor
concurrent.futures.process.ProcessPoolExecutor = polyproc.pool.ProcessPoolExecutor
concurrent.futures.process.BrokenProcessPool = polyproc.pool.BrokenProcessPool
concurrent.futures.process._RemoteTraceback = RemoteTraceback
"""
# Tests of other modules that start processes.
OTHER_TESTS = """
import importlib, multiprocessing
multiprocessing.set_start_method("{method}", force=True)
collected = set()
for module, names in {
    "test_logging": ["ConfigDictTest", "LogRecordTest", "QueueListenerTest"],
    "test_asyncio.test_events": ["TestPyGetEventLoop", "TestCGetEventLoop"],
    "test_asyncio.test_unix_events": ["TestFork"],
}.items():
    tests = vars(importlib.import_module("test." + module))
    collected.update(name for name in names if name in tests)
    globals().update((name, tests[name]) for name in names if name in tests)
"""


def write_executor_module(folder: str, method: str, word: str, ours: bool) -> str:
    """Write the tests of concurrent.futures' process pool, with our executor in its place or not; return the name.

    The classes get `word` before their names.
    """
    name = f"conformance_executor_{method}_{word}"
    text = EXECUTOR_TESTS.replace("{prefix}", {"forkserver": "Forkserver"}.get(method, method.capitalize()))
    Path(folder, name + ".py").write_text((WITH_OUR_EXECUTOR if ours else "") + text.replace("{word}", word))
    return name


def write_other_module(folder: str, method: str) -> str:
    """Write what takes the tests of other modules that start processes; return the name."""
    name = f"conformance_other_{method}"
    Path(folder, name + ".py").write_text(OTHER_TESTS.replace("{method}", method))
    return name


def expected_of(python: Python) -> set[Key]:
    """Return what must pass."""
    return keys_in(python.expected_file)


def keys_in(file: Path) -> set[Key]:
    """Read a list of tests."""
    if not file.exists():
        return set()
    return {tuple(line.split()) for line in file.read_text().split("\n") if line}  # type: ignore[misc]


def run_python(python: Python, options: argparse.Namespace, expected: set[Key]) -> dict[Key, tuple[str, str]]:
    """Run everything for one interpreter."""
    results: dict[Key, tuple[str, str]] = {}
    lock = threading.Lock()
    with tempfile.TemporaryDirectory() as folder:
        jobs: list[tuple[Run, str, list[str]]] = []
        for method in options.methods.split(","):
            run = Run(python, folder, method, write_modules(folder, method), options.limit)
            main = Run(python, folder, method, MAIN_HANDLING, options.limit)
            prefix = {"fork": "Fork", "spawn": "Spawn", "forkserver": "ForkServer"}[method]
            modules = [
                write_executor_module(folder, method, "", not python.stdlib),
                write_executor_module(folder, method, "Futures", False),  # with its own executor, on our contexts
                write_other_module(folder, method),
            ]
            for each in (run, main, *(Run(python, folder, method, name, options.limit) for name in modules)):
                names = each.classes()
                for name, tests in names.items():
                    if each is main and not name.startswith(prefix + "Cmd"):
                        continue
                    if re.search(options.only, name):
                        jobs.append((each, name, [test for test in tests if (name, test) not in NOT_RUN]))

        def work(job: tuple[Run, str, list[str]]) -> None:
            each, name, tests = job
            found = each.run_class(name, tests)
            with lock:
                for test, outcome in found.items():
                    results[(each.method, name, test)] = outcome
                show_progress(python, len(results), each.method, name)

        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(work, jobs))
        # CPython's tests measure times. What failed beside others gets a machine of its own, and that is said.
        for job in jobs:
            each, name, _ = job
            again = [k for k in expected if k[:2] == (each.method, name) and results.get(k, ("",))[0] != "passed"]
            if again:
                print(f"{python.version}: {each.method} {name} once more, alone: {', '.join(k[2] for k in again)}")
                work(job)
    return results


def show_progress(python: Python, count: int, method: str, name: str) -> None:
    """Say where we are, on a terminal in one line."""
    text = f"{python.version}: {count} tests, {method} {name}"
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text[:100]}")
        sys.stderr.flush()


def report(python: Python, results: dict[Key, tuple[str, str]], expected: set[Key], options: argparse.Namespace) -> int:
    """Print a line for each start method, and what is not as it should be; return how much that is."""
    bad = 0
    for method in options.methods.split(","):
        counts = collections.Counter(status for (m, _, _), (status, _) in results.items() if m == method)
        words = ", ".join(f"{counts[s]} {s}" for s in ("passed", "failed", "skipped", "hung", "crashed"))
        print(f"{python.version} {method:<10} {words}", flush=True)
        if not python.stdlib:
            compare(python, method, {k for k, (status, _) in results.items() if status == "passed"}, options)
    for key, (status, detail) in sorted(results.items()):
        if status in ("hung", "crashed") and key not in expected:
            bad += 1
            print(f"\n{status}: {python.short} {' '.join(key)}\n{detail}")
    for key in sorted(expected):
        if key[0] not in options.methods.split(",") or not re.search(options.only, key[1]):
            continue
        status, detail = results.get(key, ("not run", ""))
        if status != "passed":
            bad += 1
            print(f"\nEXPECTED TO PASS, {status}: {python.short} {' '.join(key)}\n{detail}")
    if options.verbose:
        for key, (status, detail) in sorted(results.items()):
            if status == "failed" and key not in expected:
                print(f"\n{status}: {python.short} {' '.join(key)}\n{detail}")
    return bad


def compare(python: Python, method: str, passed: set[Key], options: argparse.Namespace) -> None:
    """Print what the standard library passes under a start method, and what of it does not pass here."""
    theirs = {
        key
        for key in keys_in(HERE / "standard" / f"{python.short}.txt")
        if key[0] == method and re.search(options.only, key[1])
    }
    ours = {key for key in passed if key[0] == method}
    missing = sorted({key[2] for key in theirs - ours})
    print(
        f"    the standard library: {len(theirs)} passed; of these {len(theirs & ours)} here, {len(ours - theirs)} more here"
    )
    if missing:
        print(f"    not here (docs/drop-in.md): {', '.join(missing)}")


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, to compare it with others."""
    return tuple(map(int, version.split(".")))


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pythons", nargs="+")
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--brief-from", metavar="VERSION")
    parser.add_argument("--only", default="")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--stdlib", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--jobs", type=int, default=4)
    parser.add_argument("--limit", type=float, default=90.0)
    options = parser.parse_args()
    bad = passed = 0
    methods, brief = options.methods, options.brief_from and numbers(options.brief_from)
    for executable in options.pythons:
        python = Python(executable, options.stdlib)
        options.methods = "forkserver" if brief and numbers(python.short) >= brief else methods
        expected = expected_of(python)
        results = run_python(python, options, expected)
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K")
        if options.update:
            now = {key for key, (status, _) in results.items() if status == "passed"}
            expected |= now
            python.expected_file.parent.mkdir(exist_ok=True)
            python.expected_file.write_text("".join(" ".join(key) + "\n" for key in sorted(expected)))
        bad += report(python, results, set() if options.stdlib else expected, options)
        passed += sum(status == "passed" for status, _ in results.values())
    print(f"conformance: {passed} passed, {bad} failed")
    return 1 if bad or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
