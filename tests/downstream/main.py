"""Run other people's programs with the standard library and under `python -m polyproc run`: they must print the same.

main.py            every program, each under the start methods that it takes; then joblib's own tests
main.py --quick    every program that is quick, torch's under fork alone
main.py WORD ...   those programs whose names have one of the words
"""

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ENVIRONMENT = ROOT / ".venv-downstream"
PYTHON = str(ENVIRONMENT / "bin" / "python")
LIMIT = 300  # seconds for one run
METHODS = ("fork", "spawn", "forkserver")

# program -> the start methods that it takes as an argument; empty if it takes none
PROGRAMS = {
    "futures": METHODS,
    "joblib_backends": (),
    "scikit_learn_jobs": (),
    "gunicorn_workers": (),
    "uvicorn_workers": (),
    "loky_pebble": METHODS,
    "mixed_pools": METHODS,
    "coverage_children": METHODS,
    "gymnasium_vectors": METHODS,
    "dask_cluster": (),
    "linters": (),
    "celery_worker": (),
    "runners": (),
    "viztracer_children": METHODS,
    "loguru_threads": METHODS,
    "greenlets": METHODS,
    "notebook": ("fork", "spawn"),
    "torch_loader": METHODS,
    "torch_processes": METHODS,
    "torch_cuda": METHODS,  # where there is a device
    "ray_nodes": (),
}
SLOW = (
    "torch_loader",
    "torch_processes",
    "torch_cuda",
    "mixed_pools",
)  # under spawn, torch is imported again and again
# They say themselves what is right: with the standard library they wait for ever, or cannot run.
ALONE = ("greenlets", "ray_nodes")
NOT_QUICK = {"ray_nodes": "ray>=2.40"}  # and what they need besides
# Versions that many have: they reach for other names than the newest. Each in a folder of its own, before the others.
PINNED = (
    ("loky==3.4.1", "loky_pebble", "fork"),
    ("loky==3.5.6", "loky_pebble", "spawn"),
    ("joblib==1.5.3", "joblib_backends"),
)
OWN_TESTS = ("joblib.test.test_parallel", "joblib.test.test_memmapping", "joblib.test.test_memory")


def prepare(arguments):
    """Make the environment, with this project and the others in it."""
    if not Path(PYTHON).exists():
        subprocess.check_call([sys.executable, "-m", "venv", str(ENVIRONMENT)])
    pip = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    print("installing what is tried; torch is large", flush=True)
    subprocess.check_call([*pip, "-r", str(HERE / "requirements.txt")])
    subprocess.check_call([*pip, "--no-build-isolation", "--force-reinstall", "--no-deps", str(ROOT)])
    subprocess.check_call([*pip, "cloudpickle"])
    if "--quick" not in arguments:
        subprocess.check_call([*pip, *NOT_QUICK.values()])
    for version, *_ in PINNED:
        if not _folder(version).exists():
            subprocess.check_call([*pip, "--no-deps", "--target", str(_folder(version)), version])


def _folder(version):
    return ENVIRONMENT / "pinned" / version


def run(words, version=None):
    """Run a command; return its exit status, None for one that ran out of time, what it printed, and its seconds."""
    start = time.monotonic()
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    if version is not None:
        env["PYTHONPATH"] = str(_folder(version))
    with subprocess.Popen(
        [PYTHON, *words],
        cwd=HERE / "programs",
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=LIMIT)
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            out, err = process.communicate()
            status = None
    return status, out, err, time.monotonic() - start


def compare(name, words, version):
    """Run a program in both ways; say how it went; return whether it printed the same, both ended well, and left nothing."""
    alone = name.startswith(ALONE)
    theirs = (0, None, "", 0.0) if alone else run(words, version)
    if (
        theirs[0] is None
    ):  # a hang of the standard library's own, as a pool that is forked beside threads has now and then
        theirs = run(words, version)
    before = _shared()
    ours = run(["-m", "polyproc", "run", *words], version)
    left = _left(before)
    same = (alone or theirs[:2] == ours[:2]) and ours[0] == 0 and not left
    print(
        f"{name:32} standard library {theirs[3]:6.1f} s, polyproc {ours[3]:6.1f} s   {'same' if same else 'DIFFERENT'}"
    )
    if not same:
        for who, (status, out, err, _) in (("the standard library", theirs), ("polyproc", ours))[alone:]:
            told = "it ran out of time" if status is None else f"exit status {status}"
            print(f"--- with {who}: {told}\n{out}{err[-4000:]}")
        print(*(f"--- polyproc left {name}" for name in sorted(left)), sep="\n")
    sys.stdout.flush()
    return same


def _shared():
    """Return the segments, semaphores and folders of shared memory that libraries name after themselves."""
    kinds = ("psm_", "sem.", "loky", "joblib", "torch")
    return {path.name for path in Path("/dev/shm").glob("*") if path.name.startswith(kinds)}


def _left(before):
    """Return what is there that was not, once who removes it had the time."""
    deadline = time.monotonic() + 20
    while (left := _shared() - before) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def chosen(arguments):
    """Yield (name, words of the command, version that is pinned) of the programs to run."""
    quick = "--quick" in arguments
    wanted = [word for word in arguments if not word.startswith("-")]
    for program, methods in PROGRAMS.items():
        if wanted and not any(word in program for word in wanted):
            continue
        if quick and program in NOT_QUICK:
            continue
        if program == "torch_cuda" and not Path("/dev/nvidiactl").exists():
            print(f"{program}: there is no CUDA device here")
            continue
        if not methods:
            yield program, [f"{program}.py"], None
        for method in methods[:1] if quick and program in SLOW else methods:
            yield f"{program}, {method}", [f"{program}.py", method], None
    for version, program, *more in PINNED:
        if not wanted or any(word in f"{program} {version}" for word in wanted):
            yield f"{program}, {version}", [f"{program}.py", *more], version


def own_tests():
    """Run tests that a library has of its own, in both ways; yield whether all went as with the standard library."""
    for module in OWN_TESTS:
        words = ["-m", "pytest", "--pyargs", module, "-q", "-p", "no:cacheprovider", "--timeout", "60"]
        theirs, ours = (_failures(run([*way, *words])) for way in ([], ["-m", "polyproc", "run"]))
        more = ours - theirs
        print(f"{module}: {len(theirs)} failed with the standard library, {len(ours)} with polyproc", *sorted(more))
        yield not more


def _failures(done):
    status, out, err, _ = done
    if status not in (0, 1):
        return {f"it ended with {status}: {err[-500:]}"}
    return {line.split(" - ")[0] for line in out.splitlines() if line.startswith(("FAILED", "ERROR"))}


def main(arguments):
    """Do it all; return the exit status."""
    prepare(arguments)
    results = [compare(*what) for what in chosen(arguments)]
    if not arguments:
        results += own_tests()
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) and results else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
