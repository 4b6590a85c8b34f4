"""What the kernel kills for lack of memory is told as that."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

import polyproc
from conftest import PROGRAMS, eventually, needs
from polyproc._start import child
from support import on_hosts, targets

LIMIT = 150 << 20


def is_removed(folder):
    """Remove a group; say whether that could be done: a process that ends with its parent may be in it a moment longer."""
    with contextlib.suppress(OSError):
        os.rmdir(folder)
    return not os.path.exists(folder)


@pytest.fixture
def small_group():
    """A control group with little memory, version 2 or 1; yields where a process's pid is written to join it."""
    for root, limit in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        folder = f"{root}/polyproc-test-{os.getpid()}"
        try:
            os.mkdir(folder)
        except OSError:
            continue
        try:
            if os.path.exists(f"{folder}/{limit}"):
                for name, value in ((limit, LIMIT), ("memory.swap.max", 0)):
                    with contextlib.suppress(OSError), open(f"{folder}/{name}", "r+") as file:
                        file.write(str(value))
                yield f"{folder}/cgroup.procs"
                return
        finally:
            eventually(lambda folder=folder: is_removed(folder))
    pytest.skip("no control group can be made here")


@needs("system calls of Linux")
def test_a_worker_that_takes_too_much(small_group, method):
    program = [sys.executable, str(PROGRAMS / "memory_hog.py"), method]
    done = subprocess.run(
        ["sh", "-c", f'echo $$ > {small_group} && exec "$@"', "sh", *program],
        capture_output=True,
        text=True,
        timeout=60,
    )
    told = "was killed by SIGKILL (the kernel counts a kill for lack of memory) without a result while it ran take"
    assert done.stdout.splitlines() == ["1048576", "oom SIGKILL take", told, "1048576", "1048576"], done


@needs("system calls of Linux")
def test_a_process_on_a_host_that_takes_too_much(small_group):
    command = ["sh", "-c", f"echo $$ > {small_group} && exec {{agent}}"]
    with polyproc.get_context("command", command=command) as context:
        sibling = context.Process(target=on_hosts.sleep)
        sibling.start()
        process = context.Process(target=on_hosts.take_memory, args=(2 * LIMIT,))
        process.start()
        died = process.exception(60)
        assert (died.reason, died.host, process.exitcode) == ("oom", "localhost", -signal.SIGKILL)
        assert sibling.is_alive()


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The kernel's count, to be set."""
    path = tmp_path / "memory.events"
    path.write_text("oom 5\noom_kill 3\n")
    kills = child.Kills()
    monkeypatch.setattr(child, "_counters", lambda: [str(tmp_path / "not there"), str(path)])
    kills.begin()
    monkeypatch.setattr("polyproc._start.child.kills", kills)
    return path


def reason_of(ctx, act):
    process = ctx.Process(target=targets.sleep, args=(60,))
    process.start()
    act(process)
    return process.exception(30).reason


def test_each_kill_explains_one_death(ctx, counted):
    def be_killed(process):
        os.kill(process.pid, signal.SIGKILL)

    assert reason_of(ctx, be_killed) == "signal"
    counted.write_text("oom 6\noom_kill 4\n")
    assert reason_of(ctx, polyproc.Process.kill) == "signal"  # by us
    assert reason_of(ctx, lambda process: os.kill(process.pid, signal.SIGTERM)) == "signal"
    assert [reason_of(ctx, be_killed) for _ in range(2)] == ["oom", "signal"]
    counted.unlink()
    assert reason_of(ctx, be_killed) == "signal"


@needs("system calls of Linux")
def test_this_system_counts():
    assert any(child._kills_in(path) is not None for path in child._counters())
