"""Run the tests with each interpreter given, each in an environment of its own: `.venv-<version>`.

Those of what depends on the interpreter: starts, what a child finds, executors, names and signatures. With --all, all of
them.

With --others, not with those of the version that runs this: `make test` has done that.
"""

import os
import subprocess
import sys
from pathlib import Path

# What the interpreter has a part in: the others are about our own shared memory, messages and scheduling.
OF_THE_VERSION = [
    *("behaviour/test_process.py", "behaviour/test_forkserver.py", "behaviour/test_fresh_interpreter.py"),
    *("behaviour/test_main_module.py", "behaviour/test_starting_imports.py", "behaviour/test_drop_in.py"),
    *("behaviour/test_executor.py", "behaviour/test_what_libraries_reach_for.py", "behaviour/test_redefined.py"),
    *("behaviour/test_since_3_14.py", "behaviour/test_what_versions_change.py", "behaviour/test_raw_forks.py"),
    *("behaviour/test_breakpoints.py", "behaviour/test_surroundings.py", "behaviour/test_shared_memory.py"),
]

ROOT = Path(__file__).resolve().parent.parent


def version_of(python):
    """Return its version, as in 3.12."""
    return subprocess.check_output(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()


def run(python, everything):
    """Prepare the environment; run the tests; return the exit status."""
    version = version_of(python)
    environment = ROOT / f".venv-{version}"
    executable = str(environment / "bin" / "python")
    if not Path(executable).exists():
        subprocess.check_call([python, "-m", "venv", str(environment)])
    pip = [executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.check_call([*pip, "--upgrade", "setuptools", "wheel"])
    env = {**os.environ, "POLYPROC_CRASHPOINTS": "1", "POLYPROC_NATIVE": "require"}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    install = [*pip, "--no-build-isolation", "--force-reinstall", "--no-deps", str(ROOT)]
    subprocess.check_call(install, env=env)
    subprocess.check_call([*pip, "cloudpickle", "pytest", "hypothesis", "grimp", "psutil"])
    print(f"--- Python {version} ---", flush=True)
    tests = ["tests", "--ignore=tests/architecture", "-m", "not chaos"]  # what kills at random is run once
    if not everything:
        tests[:2] = [f"tests/{name}" for name in OF_THE_VERSION]
    names = subprocess.call([executable, "tests/conformance/names.py"], cwd=ROOT, env=env)
    return subprocess.call([executable, "-m", "pytest", *tests], cwd=ROOT, env=env) or names


if __name__ == "__main__":
    pythons = sys.argv[1:]
    everything = "--all" in pythons
    pythons = [word for word in pythons if word != "--all"]
    if pythons[:1] == ["--others"]:
        pythons = [python for python in pythons[1:] if version_of(python) != version_of(sys.executable)]
    print(f"with {', '.join(pythons) or 'no other interpreter: none was found'}", flush=True)
    failed = [python for python in pythons if run(python, everything)]
    if failed:
        print(f"failed with {', '.join(failed)}")
    sys.exit(bool(failed))
