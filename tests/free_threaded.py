"""Build the wheels of interpreters without the GIL by their headers, and look at them; no such interpreter is needed.

free_threaded.py [--run] PYTHON ...   by each interpreter given from 3.13 on; ends with 1 if something is wrong

What says that there is no GIL is `Py_GIL_DISABLED`, among what an interpreter was configured with and in pyconfig.h: both
are told so here. The wheel of 3.15 is for abi3t, which interpreters with the GIL load as well: with --run it is used by them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOUR = ROOT / "tests" / "programs" / "tour.py"
MAIN_WITHOUT_LOADER = "ignore:Module globals is missing a __spec__.loader:DeprecationWarning"  # as in wheels.py
PRETEND = """if True:
    import runpy, sys, sysconfig
    told = sysconfig.get_config_vars()
    name = "cpython-%d%dt" % sys.version_info[:2]
    told["Py_GIL_DISABLED"] = 1
    for key in ("SOABI", "EXT_SUFFIX"):
        told[key] = told[key].replace(name[:-1], name)
    sys.path[:0] = [sys.argv.pop(1)]
    sys.argv[0] = "setup.py"
    runpy.run_path("setup.py", run_name="__main__")
"""
EXPECTED = {
    (3, 13): ("cp313-cp313t", "_core.cpython-313t-", "PyInit__core"),
    (3, 14): ("cp314-cp314t", "_core.cpython-314t-", "PyInit__core"),
    (3, 15): ("cp315-abi3.abi3t", "_core.abi3t.so", "PyModExport__core"),
}


def check(is_so, text):
    """Say it; end if it is not so."""
    print(f"{'ok' if is_so else 'WRONG'}: {text}", flush=True)
    if not is_so:
        raise SystemExit(1)


def version_of(python):
    """Return its version, as two numbers."""
    said = subprocess.check_output([python, "-c", "import sys; print(*sys.version_info[:2])"], text=True)
    return tuple(map(int, said.split()))


def has_headers(python):
    """Say whether something can be compiled for it."""
    program = "import os, sysconfig; print(os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h')))"
    return subprocess.check_output([python, "-c", program], text=True).strip() == "True"


def build(python, folder):
    """Return the wheel that an interpreter of that version builds where it has no GIL. Warnings are errors."""
    import setuptools  # of the one that runs this: any will do

    env = {
        **os.environ,
        "CFLAGS": "-DPy_GIL_DISABLED=1",
        "POLYPROC_BUILD": "strict",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    place = str(Path(setuptools.__file__).parent.parent)
    words = ["--quiet", "bdist_wheel", "--dist-dir", str(folder / "dist"), "--bdist-dir", str(folder / "bdist")]
    words[1:1] = ["egg_info", "--egg-base", str(folder), "build", "--build-base", str(folder / "build")]
    done = subprocess.run([python, "-c", PRETEND, place, *words], cwd=ROOT, env=env, capture_output=True, text=True)
    check(
        done.returncode == 0,
        f"a wheel is built by {python}, without the GIL\n{done.stderr if done.returncode else ''}".rstrip(),
    )
    [wheel] = (folder / "dist").glob("*.whl")
    return wheel


def tags_of(version):
    """Return the tags that an installer accepts there: pip's own list of them."""
    from packaging.tags import cpython_tags

    platform = "linux_" + os.uname().machine
    return {
        f"{tag.interpreter}-{tag.abi}" for tag in cpython_tags(version, [f"cp{version[0]}{version[1]}t"], [platform])
    }


def look(wheel, version, folder):
    """Look at its tag, its file, and what that has and asks for; return the folder that it is unpacked in."""
    tag, file, entry = EXPECTED[version]
    check(f"-{tag}-linux_" in wheel.name, f"it is called {wheel.name}")
    interpreter, _, abis = tag.partition("-")
    there = tags_of(version)
    check(any(f"{interpreter}-{abi}" in there for abi in abis.split(".")), f"an installer of {version} takes it")
    place = folder / "there"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    cores = [path for path in (place / "polyproc").glob("_core*.so") if path.name.startswith(file)]
    check(len(cores) == 1, f"its core is {file}")
    symbols = subprocess.check_output(["nm", "-D", str(cores[0])], text=True).split("\n")
    check(any(line.endswith(f" T {entry}") for line in symbols), f"and begins at {entry}")
    if "abi3t" in tag:
        private = sorted({line.split()[-1] for line in symbols if " U _Py" in line} - STABLE)
        check(not private, f"and asks for nothing that abi3t has not got {private or ''}".rstrip())
    return place


# What is of the stable ABI in spite of its name.
STABLE = {
    "_Py_Dealloc",
    "_Py_NoneStruct",
    "_Py_TrueStruct",
    "_Py_FalseStruct",
    "_Py_IncRef",
    "_Py_DecRef",
    "_PyObject_New",
}


def use(python, place, folder):
    """Go through everything with a core of abi3t, by an interpreter that loads it."""
    import cloudpickle  # the one dependency, which is Python alone

    shutil.copytree(Path(cloudpickle.__file__).parent, place / "cloudpickle")
    env = {**os.environ, "PYTHONPATH": str(place), "POLYPROC_NATIVE": "require"}
    said = subprocess.run(
        [python, "-c", "import polyproc._core as core; print(core.__file__)"],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    check("_core.abi3t.so" in said.stdout, f"{python} loads it: {said.stdout.strip() or said.stderr.strip()}")
    methods = "fork,spawn,forkserver"
    words = [python, "-W", "error", "-W", MAIN_WITHOUT_LOADER, str(TOUR), methods]
    done = subprocess.run(words, env=env, cwd=folder, capture_output=True, text=True, timeout=200)
    well = [f"{method}: all is well" for method in methods.split(",")]
    check(done.returncode == 0 and done.stdout.splitlines() == well, f"the tour by {methods} {done.stderr}".rstrip())


def main(words):
    """Do it all."""
    runs = "--run" in words
    for python in words:
        version = version_of(python) if python != "--run" else None
        if version not in EXPECTED or (runs and version < (3, 15)):
            continue
        if not has_headers(python):
            print(f"skipped: {python} has no headers", flush=True)
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            place = look(build(python, folder), version, folder)
            if runs and version >= (3, 15):
                use(python, place, folder)
    print("without the GIL: all that can be looked at is well")


if __name__ == "__main__":
    main(sys.argv[1:] or [sys.executable])
