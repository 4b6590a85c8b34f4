"""Check that every public name has a complete type: `pyright --verifytypes polyproc` at 100 %, and what checkers see.

pyright is a program for Node.js. Where it or Node.js cannot be had, this says so and fails nothing.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WANTED = "pyright>=1.1.402"  # since then the wheel has the program in it


def main():
    if not installed():
        return goes_on("pip cannot install it")
    report = asked("--verifytypes", "polyproc", "--ignoreexternal")
    if report is None:
        return goes_on("it does not run: is there a Node.js?")
    shown = [f"{symbol['name']}: {error['message']}" for symbol in report["typeCompleteness"]["symbols"]
             for error in symbol["diagnostics"] if error["severity"] == "error"]  # fmt: skip
    shown += [error["message"] for error in report["generalDiagnostics"] if error["severity"] == "error"]
    score = report["typeCompleteness"]["completenessScore"]
    print(f"pyright: {score:.1%} of the public types are complete")
    seen = asked(str(HERE / "seen_by_checkers.py")) or {"generalDiagnostics": []}
    shown += [f"{error['file']}:{error['range']['start']['line'] + 1}: {error['message']}"
              for error in seen["generalDiagnostics"] if error["severity"] == "error"]  # fmt: skip
    print(*shown, sep="\n", end="\n" if shown else "")
    return 1 if shown or score < 1 else 0


def goes_on(reason):
    print(f"*** pyright: {reason}. THE PUBLIC TYPES ARE NOT VERIFIED. ***", file=sys.stderr)
    return 0


def installed():
    """Return whether pyright is here, installed now if it was not."""
    if subprocess.run([sys.executable, "-c", "import pyright"], capture_output=True).returncode == 0:
        return True
    wanted = WANTED if shutil.which("node") else WANTED.replace("pyright", "pyright[nodejs]")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
    return subprocess.run(pip).returncode == 0


def asked(*arguments):
    """Run pyright; return its report, None where it has none."""
    # With --verifytypes it takes the first `python` of PATH, whatever --pythonpath says.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = {**os.environ, "PATH": path, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    command = [sys.executable, "-m", "pyright", "--outputjson", *arguments]
    try:
        done = subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=300)
        return json.loads(done.stdout)
    except (ValueError, subprocess.TimeoutExpired):
        return None


if __name__ == "__main__":
    sys.exit(main())
