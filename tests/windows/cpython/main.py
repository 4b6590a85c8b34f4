"""Runs CPython 3.13's own tests of spawn by a CPython for Windows, with polyproc under `multiprocessing`'s name.

    python tests/windows/cpython/main.py [--stdlib] [--update] [--only REGEX] [--results FILE]

`expected.txt` lists what must pass, `standard.txt` what passes with the standard library under the same Wine
(--stdlib). --update writes down what passes now, of the classes that were run. The tests are those of a CPython 3.13
on this machine: the one for Windows comes without. What fails is run once more, alone.

--results keeps what came out in a file, class by class; what is in it is not run again: a run that was broken off goes
on.

Exit status 1 when something on the list does not pass, or when the standard library passes what does not pass here and
docs/drop-in.md does not name it.
"""

import argparse
import collections
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parents[1]))
sys.path.insert(0, str(HERE.parents[1] / "conformance"))
sys.path.insert(0, str(HERE.parent))

import harness
import main as windows

from find_pythons import candidates

MODULES = ("test_multiprocessing_*", "test_concurrent_futures", "support", "test_asyncio", "certdata", "libregrtest")
LIMIT = 900  # seconds for a class
NOT_RUN = harness.NOT_RUN


def tests_of_cpython():
    """Return a folder with the package `test` of a CPython 3.13; None if there is none here."""
    folder = windows.CACHE / "cpython-tests"
    if (folder / "test").exists():
        return folder
    for python in candidates():
        asked = "import sys, test; print(sys.version_info[:2] == (3, 13) and test.__path__[0])"
        found = subprocess.run([python, "-c", asked], capture_output=True, text=True).stdout.strip()
        if found and found != "False":
            source = Path(found)
            new = Path(tempfile.mkdtemp(dir=windows.CACHE))
            (new / "test").mkdir()
            for path in (*source.glob("*.py"), *(path for name in MODULES for path in source.glob(name))):
                copy = shutil.copytree if path.is_dir() else shutil.copy
                copy(path, new / "test" / path.name)
            new.rename(folder)
            return folder
    return None


class Classes:
    """The test classes of one module, each run in a process of its own."""

    def __init__(self, folder, module, environment):
        self.folder, self.module, self.environment = folder, module, environment

    def _start(self, class_name, done):
        with tempfile.NamedTemporaryFile(dir=self.folder) as report, tempfile.TemporaryFile() as output:
            # Through a pipe: see ../main.py. What outlives a test may hold it for longer than its process lives.
            copier = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=output)
            process = subprocess.Popen(
                [
                    "wine",
                    str(windows.PYTHON),
                    windows.windows_path(HERE / "worker.py"),
                    windows.windows_path(report.name),
                    self.module,
                    class_name,
                    ",".join(done),
                ],
                env=self.environment,
                cwd=tempfile.mkdtemp(dir=self.folder),
                stdin=subprocess.DEVNULL,
                stdout=copier.stdin,
                stderr=copier.stdin,
            )
            copier.stdin.close()
            try:
                process.wait(LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            try:
                copier.wait(5)
            except subprocess.TimeoutExpired:
                copier.kill()
                copier.wait()
            output.seek(0)
            return report.read().decode().splitlines(), output.read().decode(errors="replace")

    def names(self):
        """Return the names of the classes."""
        lines, output = self._start("?", ())
        if not lines:
            raise RuntimeError(f"{self.module} cannot be loaded:\n{output[-5000:]}")
        return lines

    def run(self, class_name):
        """Return (status, detail) for each test of a class."""
        results = {test: ("left out", why) for (name, test), why in NOT_RUN.items() if name == class_name}
        while True:
            lines, output = self._start(class_name, results)
            current = None
            for line in lines:
                event = json.loads(line)
                current = event["test"] if event["status"] == "started" else None
                if current is None and results.get(event["test"], ("",))[0] != "failed":
                    results[event["test"]] = event["status"], event["detail"]
            if current is None:
                return results
            results[current] = "hung or crashed", output[-6000:]
            subprocess.run(["wineserver", "-k"], env=self.environment)


def read(path):
    """Return the tests that a file lists."""
    return set(path.read_text().splitlines()) if path.exists() else set()


def python_with(tests, folder, stdlib):
    """Return an interpreter with the tests, and polyproc under the other's name, whatever its flags and environment."""
    place = windows.CACHE / ("cpython-standard" if stdlib else "cpython-polyproc")
    if not place.exists():
        shutil.copytree(windows.PYTHON.parent, place, copy_function=os.link)
        (place / "Lib" / "test").symlink_to(tests / "test")
    lines = [*map(windows.windows_path, (folder, windows.ROOT / "src", windows.SITE))]
    if not stdlib:
        lines.append("import polyproc; polyproc.install()")
    (place / "Lib" / "site-packages").mkdir(exist_ok=True)
    (place / "Lib" / "site-packages" / "tests.pth").write_text("\n".join(lines) + "\n")
    return place / "python.exe"


def write_modules(folder, stdlib):
    """Write the modules of tests; return their names."""
    names = [harness.write_modules(folder, "spawn"), harness.write_executor_module(folder, "spawn", "", not stdlib)]
    if not stdlib:  # with its own executor, on our contexts: there the same as the others
        names.append(harness.write_executor_module(folder, "spawn", "Futures", False))
    return [*names, harness.MAIN_HANDLING]


class Results:
    """What came out, test by test; in a file too, if there is one, which is read first."""

    def __init__(self, path):
        self.path = path and Path(path)
        self.of_class = {}
        if self.path and self.path.exists():
            for line in self.path.read_text().splitlines():
                name, results = json.loads(line)
                self.of_class[name] = results

    def add(self, name, results):
        """Note a class."""
        self.of_class[name] = results
        if self.path:
            with self.path.open("a") as file:
                file.write(json.dumps([name, results]) + "\n")

    def passed(self):
        """Return the tests that passed."""
        return {
            f"{name} {test}"
            for name, results in self.of_class.items()
            for test, (status, _) in results.items()
            if status == "passed"
        }


def run_classes(classes, only, results, known):
    """Run the classes of a module."""
    for name in classes.names():
        if classes.module == harness.MAIN_HANDLING and not name.startswith("SpawnCmd"):
            continue
        if name in results.of_class or not re.search(only, name):
            continue
        found = classes.run(name)
        bad = [test for test, (status, _) in found.items() if f"{name} {test}" in known and status != "passed"]
        if bad:  # CPython's tests measure times
            print(f"{name} once more: {', '.join(bad)}", flush=True)
            found |= {test: outcome for test, outcome in classes.run(name).items() if outcome[0] == "passed"}
        results.add(name, found)
        print(name, dict(collections.Counter(status for status, _ in found.values())), flush=True)
        for test, (status, detail) in found.items():
            if status not in ("passed", "skipped", "left out"):
                print(f"--- {name} {test}: {status}\n{detail}", flush=True)


def unnamed(tests):
    """Return those of some tests that the table of differences does not name."""
    page = (ROOT / "docs" / "drop-in.md").read_text()
    return {line for line in tests if f"`{line.split()[1]}`" not in page}


def compare(passed, results):
    """Print what the standard library passes, of the classes that were run; return what is missing without a reason."""
    theirs = read(HERE / "standard.txt")
    theirs |= {f"Futures{line}" for line in theirs if line.startswith("ProcessPool")}
    theirs = {line for line in theirs if line.split()[0] in results.of_class}
    missing = theirs - passed
    print(f"{len(passed)} passed; the standard library: {len(theirs)}, of which {len(theirs) - len(missing)} here")
    print(f"not here (docs/drop-in.md): {', '.join(sorted(missing)) or 'none'}")
    return sorted(unnamed(missing))


def main(arguments):
    """Run all classes; return the exit status."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--stdlib", action="store_true")
    parser.add_argument("--update", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--results")
    options = parser.parse_args(arguments)
    windows.PREFIX = windows.CACHE / ("prefix-cpython-standard" if options.stdlib else "prefix-cpython")
    why = windows.prepare()
    tests = tests_of_cpython()
    if why is not None or tests is None:
        print(f"\n*** NOT TESTED ON WINDOWS: {why or 'no CPython 3.13 with its tests'} ***\n", file=sys.stderr)
        return 0
    list_file = HERE / ("standard.txt" if options.stdlib else "expected.txt")
    results = Results(options.results)
    with tempfile.TemporaryDirectory() as folder:
        windows.PYTHON = python_with(tests, folder, options.stdlib)
        environment = windows.environment(PYTHONPATH="")
        for module in write_modules(folder, options.stdlib):
            run_classes(Classes(folder, module, environment), options.only, results, read(list_file))
    passed = results.passed()
    if options.update:
        others = {line for line in read(list_file) if line.split()[0] not in results.of_class}
        list_file.write_text("".join(f"{line}\n" for line in sorted(others | passed)))
    missing = sorted(line for line in read(list_file) - passed if re.search(options.only, line.split()[0]))
    for line in missing:
        print(f"DOES NOT PASS ANY MORE: {line}")
    if options.stdlib:
        print(f"{len(passed)} passed")
        return 1 if missing else 0
    without_reason = compare(passed, results)
    for line in without_reason:
        print(f"THE STANDARD LIBRARY PASSES IT, AND NO PAGE SAYS WHY NOT HERE: {line}")
    return 1 if missing or without_reason else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
