"""`python -m polyproc doctor`: what works is tried, what does not is said, with what to do about it."""

import os
import resource
import subprocess
import sys

from polyproc._base.native import native
from polyproc._cli import doctor
from polyproc._platform.handles import has_pidfds


def run(**options):
    env = {**os.environ, **options.pop("env", {})}
    command = [sys.executable, "-m", "polyproc", "doctor"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, **options)


def line_about(done, what):
    [line] = [line for line in done.stdout.splitlines() if line[2:].startswith(what + " ")]
    return line


def test_what_works():
    done = run()
    assert done.stderr == ""
    for method in ("fork", "spawn", "forkserver"):
        assert line_about(done, method).split() == [method, "starts"]
    assert line_about(done, "process handles").endswith("pidfd" if has_pidfds() else "pipe")
    assert line_about(done, "C core").endswith("on") == bool(native)
    wrong = any(line.startswith("!") for line in done.stdout.splitlines())
    assert done.returncode == wrong
    assert done.stdout.endswith("all is well\n") != wrong


def test_an_engine_and_its_nodes():
    command = [sys.executable, "-m", "polyproc", "doctor", "--engine"]
    done = subprocess.run([*command, "command", "--hosts", "one,two"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 nodes" in line_about(done, "command")
    assert "processors" in line_about(done, "one")
    done = subprocess.run([*command, "command", "--command", "false"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ended with exit code 1" in line_about(done, "command")
    done = subprocess.run([*command, "no such engine"], capture_output=True, text=True, timeout=60)
    assert "cannot find context" in done.stdout


def test_without_the_core():
    done = run(env={"POLYPROC_NATIVE": "off"})
    assert done.returncode == 1
    assert line_about(done, "C core").startswith("! C core")
    assert "do not set POLYPROC_NATIVE" in done.stdout


def test_little_room_for_segments_is_no_failure(monkeypatch):
    usage = doctor.shutil.disk_usage("/")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda where: usage._replace(free=64 << 20))
    found = doctor._tried("named shared memory", doctor._named_room(), lambda: None, "make room")
    assert found == ("named shared memory", "up to 64 MiB", "")


def test_few_descriptors():
    def lower():
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))

    done = run(preexec_fn=lower)
    assert done.returncode == 1
    assert line_about(done, "open files") == "! open files             up to 200"
    assert "`ulimit -n`, up to 300" in done.stdout


def test_what_cannot_be_done_is_said():
    def fail():
        raise OSError(28, "No space left on device")

    found = doctor._tried("shared memory", "there", fail, "make room")
    assert found == ("shared memory", "OSError: [Errno 28] No space left on device", "make room")
    assert doctor._tried("shared memory", "there", lambda: None, "make room").advice == ""
