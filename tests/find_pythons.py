"""Print the path of one CPython of each version from 3.11 on: the running one, those on PATH, pyenv's, and those of
which `get_pythons.py` has put some beside what the system has.
"""

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path

PROBE = "import sys; v = sys.version_info; print(sys.implementation.name, v.major, v.minor)"


def kept_here():
    """Return the folder of those that `get_pythons.py` puts beside what the system has."""
    return Path(os.environ.get("POLYPROC_PYTHONS") or Path.home() / ".cache" / "polyproc-pythons")


def candidates():
    """Yield paths that may be interpreters, the preferred ones first."""
    yield sys.executable
    for minor in range(11, 20):
        found = shutil.which(f"python3.{minor}")
        if found:
            yield found
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    yield from sorted(glob.glob(os.path.join(root, "versions", "3.*", "bin", "python3")))
    yield from sorted(map(str, kept_here().glob("bin/python3.*")))


def main():
    """Print them on one line."""
    found = {}
    for path in candidates():
        try:
            out = subprocess.run([path, "-c", PROBE], capture_output=True, text=True, timeout=20, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            continue  # pyenv's shims fail for versions that are not active
        name, major, minor = out.split()
        if name == "cpython" and (int(major), int(minor)) >= (3, 11):
            found.setdefault(int(minor), path)
    print(" ".join(path for _, path in sorted(found.items())))


if __name__ == "__main__":
    main()
