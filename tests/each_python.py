"""Run the tests with each interpreter given, each in an environment of its own: `.venv-<version>`.

With --others, not with those of the version that runs this: `make test` has done that.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def version_of(python):
    """Return its version, as in 3.12."""
    return subprocess.check_output(
        [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True
    ).strip()


def run(python):
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
    return subprocess.call([executable, "-m", "pytest", *tests], cwd=ROOT, env=env)


if __name__ == "__main__":
    pythons = sys.argv[1:]
    if pythons[:1] == ["--others"]:
        pythons = [python for python in pythons[1:] if version_of(python) != version_of(sys.executable)]
    print(f"with {', '.join(pythons) or 'no other interpreter: none was found'}", flush=True)
    failed = [python for python in pythons if run(python)]
    if failed:
        print(f"failed with {', '.join(failed)}")
    sys.exit(bool(failed))
