"""Streams that other threads write to while a process is started."""

import os
import subprocess
import sys
import threading
import time

from conftest import PROGRAMS


def read_slowly(fd, found):
    """Read a pipe so that its writers wait most of the time."""
    while data := os.read(fd, 3000):
        found.append(data)
        time.sleep(0.0005)
    os.close(fd)


def test_no_child_waits_for_a_thread_of_its_parent(tmp_path):
    out, err = os.pipe(), os.pipe()
    command = [sys.executable, str(PROGRAMS / "noisy.py"), "fork", str(tmp_path / "log")]
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    program = subprocess.Popen(command, stdout=out[1], stderr=err[1], env=env)
    os.close(out[1])
    os.close(err[1])
    found = ([], [])
    readers = [threading.Thread(target=read_slowly, args=args) for args in ((out[0], found[0]), (err[0], found[1]))]
    for reader in readers:
        reader.start()
    assert program.wait(100) == 0
    for reader in readers:
        reader.join()
    logged = (tmp_path / "log").read_text(errors="replace")
    assert logged.splitlines()[-1] == "hanging []"
    printed, told = (b"".join(pieces).decode(errors="replace") for pieces in found)
    for text in (printed, told, logged):
        assert [text.count(f"child {number}\n") for number in range(16)] == [1] * 16


def test_what_a_thread_writes_as_a_process_is_forked_is_not_written_again(tmp_path):
    program = f"""
import logging, os, sys, threading, warnings
import polyproc
warnings.simplefilter("ignore")
logging.basicConfig(filename={str(tmp_path / "log")!r}, format="%(message)s")
stream = logging.root.handlers[0].stream
os.register_at_fork(before=lambda: [file.write("once\\n") for file in (sys.stdout, stream)])
ended = threading.Event()
thread = threading.Thread(target=ended.wait)
thread.start()
process = polyproc.get_context("fork").Process(target=lambda: (print("child"), logging.error("child")))
process.start()
process.join()
ended.set()
"""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, env=env)
    assert (done.stderr, sorted(done.stdout.split())) == ("", ["child", "once"])
    assert sorted((tmp_path / "log").read_text().split()) == ["child", "once"]


def test_a_stream_that_nobody_reads_holds_up_no_start():
    program = """
import os, sys, threading, time, warnings
import polyproc
warnings.simplefilter("ignore")
reader, writer = os.pipe()
sys.stdout = open(writer, "w")
threading.Thread(target=lambda: print("." * 1_000_000), daemon=True).start()
time.sleep(0.2)
process = polyproc.get_context("fork").Process(target=len, args=("abc",))
process.start()
assert process.result(20) == 3
os._exit(0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
