"""Run the tests with each interpreter given, each in an environment of its own: `.venv-<version>`."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(python):
    """Prepare the environment; run the tests; return the exit status."""
    out = subprocess.check_output([python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], text=True)
    environment = ROOT / f".venv-{out.strip()}"
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
    print(f"--- Python {out.strip()} ---", flush=True)
    return subprocess.call([executable, "-m", "pytest", "tests", "--ignore=tests/architecture"], cwd=ROOT, env=env)


if __name__ == "__main__":
    failed = [python for python in sys.argv[1:] if run(python)]
    if failed:
        print(f"failed with {', '.join(failed)}")
    sys.exit(bool(failed))
