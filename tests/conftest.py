"""What every test gets: a start method where it asks for one, a time limit, and a guard against leaks."""

import contextlib
import faulthandler
import gc
import os
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest

import polyproc
from polyproc._connection.sharer import sharer
from polyproc._forkserver.fork_server import forkserver, fresh_fork_server
from polyproc._platform import processes
from polyproc._platform.handles import children_of, has_pidfds
from polyproc._platform.posix import LINUX, have_abstract_sockets, quiet, tells_of_processes
from polyproc._process.child_life import lifeline
from polyproc._start.fork import null_input
from polyproc._start.spawn import bundle

LIMIT = 120.0 + float(os.environ.get("POLYPROC_CHAOS_SECONDS", "0"))
PROGRAMS = Path(__file__).parent / "programs"
# The core keeps the chunk that it fills.
CHUNK, MAX_CHUNKS = "/memfd:polyproc-chunk (deleted)", 4
METHODS = ("fork", "spawn", "forkserver")
LIBFFI = re.compile(r".*/libffi\.so[.\d]*").fullmatch  # it keeps its own file open from the first callback of ctypes on


# What a test may be about, and a platform may not have; POLYPROC_PLATFORM=posix takes all of it away.
CAPABILITIES = {
    "/proc": tells_of_processes,
    "abstract sockets": lambda: have_abstract_sockets,
    "pidfds": has_pidfds,
    "SIGKILL by descriptor": lambda: LINUX,  # F_SETSIG of fcntl(2)
    "system calls of Linux": lambda: LINUX,
    "the C core": lambda: bool(polyproc.native) or LINUX,
}


def needs(capability):
    """Mark a test that is about what not every platform has."""
    return pytest.mark.skipif(not CAPABILITIES[capability](), reason=f"this platform has not got: {capability}")


TOLD = pytest.StashKey[int]()


def pytest_configure(config):
    config.addinivalue_line("markers", "chaos: kills processes at random for a while")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background; programs of the tests expect it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[TOLD] = os.dup(2)  # nothing is captured yet: what is said as the run is ended has to be seen


@pytest.fixture(params=METHODS)
def method(request):
    """The name of a start method; the test runs once for each."""
    return request.param


@pytest.fixture
def ctx(method):
    """The context of a start method."""
    return polyproc.get_context(method)


HAVE_PROC = os.path.isdir("/proc/self/fd")  # macOS has not


def open_fds():
    """Return what each descriptor of this process is."""
    found = {}
    if not HAVE_PROC:
        for name in os.listdir("/dev/fd"):
            with contextlib.suppress(OSError):
                found[int(name)] = str(os.fstat(int(name))[:3])  # mode, inode, device
        return found
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass  # the listing's own
    return found


def eventually(condition, timeout=20.0):
    """Wait until `condition()` is true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def is_running(pid):
    """Say whether a process exists and is no zombie."""
    if not HAVE_PROC:
        row = processes.table().get(pid)
        return row is not None and not row.is_zombie
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


os.register_at_fork(after_in_child=quiet._renew)


def plain_fork(by=os.fork):
    """Fork as a program does, without us; what the interpreter says of threads, pytest's among them, is no error.

    3.15 says it when the child is there: where it is raised, the child is nobody's. Filters are the whole process's:
    of threads that fork at once, by this and by polyproc, one would restore what another has just set.
    """
    with quiet._lock, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return by()


def run_program(name, *args, timeout=60, **options):
    """Run a program of tests/programs to its end; return what it did."""
    env = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, str(PROGRAMS / name), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env, **options)


def interrupt_program(name, *args, pause=0.0):
    """Send Ctrl-C to a program of tests/programs and its family, `pause` seconds after it has said that it works.

    Returns its exit status, what it wrote to its error stream, and its children's pids. It has to end within 10 seconds.
    """
    process = subprocess.Popen(
        [sys.executable, str(PROGRAMS / name), *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "working\n"
        time.sleep(pause)
        pids = children_of(process.pid)
        begin = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert time.monotonic() - begin < 10
    finally:
        process.kill()
        process.wait()
    return process.returncode, errors, pids


@pytest.fixture(autouse=True)
def time_limit(request):
    """End the whole run, with every thread's stack, when a test hangs."""
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=request.config.stash[TOLD])
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def leak_guard():
    """Fail a test that leaves a process, a thread or a descriptor; what lives as long as its process is made before."""
    forkserver._stop()
    fresh_fork_server._stop()
    lifeline.open()
    null_input.prepare()
    bundle.open()
    polyproc.Lock()
    gc.collect()
    threads, fds = set(threading.enumerate()), open_fds()
    children = set(children_of(os.getpid()))
    yield
    polyproc.active_children()
    forkserver._stop()
    fresh_fork_server._stop()
    sharer.stop()
    deadline = time.monotonic() + 10
    while True:
        gc.collect()
        left = {
            "threads": [t.name for t in threading.enumerate() if t not in threads],
            "children": [pid for pid in children_of(os.getpid()) if pid not in children],
            "fds": [
                name for fd, name in open_fds().items() if fds.get(fd) != name and name != CHUNK and not LIBFFI(name)
            ],
            "chunks": list(open_fds().values()).count(CHUNK) > MAX_CHUNKS,
        }
        if not any(left.values()):
            return
        assert time.monotonic() < deadline, f"the test left {left}"
        time.sleep(0.02)


@pytest.fixture
def contexts(tmp_path):
    """TLS contexts of both sides, for a certificate made here."""
    import ssl

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no openssl to make a certificate with")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=certificate)
