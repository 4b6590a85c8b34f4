"""A start that fails raises an OSError that says what, leaves nothing behind, and the next one works."""

import errno
import os
import resource
import sys

import pytest

import polyproc
from conftest import open_fds
from polyproc._forkserver.fork_server import forkserver
from support import targets


def start_one(ctx):
    process = ctx.Process(target=targets.echo, args=("works",), daemon=True)
    process.start()
    return process.result(30)


def test_no_descriptor_left(ctx):
    for _ in range(2):  # a fork server's client orders one child more from the second on, to wait for the next start
        assert start_one(ctx) == "works"
    before = open_fds()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = 0
    fillers = [os.dup(0)]
    while fillers[-1] < max(before):
        fillers.append(os.dup(0))  # no number below the limit is free
    for spare in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + 1 + spare, limits[1]))
        process = ctx.Process(target=targets.nothing)
        try:
            process.start()
        except OSError as error:
            failures += 1
            assert error.errno == errno.EMFILE
            assert process.pid is None
            assert any("descriptor" in note for note in error.__notes__)
        else:
            process.join()
            process.close()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        del process
        assert len(open_fds()) <= len(before) + len(fillers)
    for fd in fillers:
        os.close(fd)
    assert failures
    assert start_one(ctx) == "works"


def test_no_process_to_be_had(ctx, monkeypatch):
    assert start_one(ctx) == "works"
    before = open_fds()

    def refuse(*args, **kwargs):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    def answer_refusal(told, fds):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", refuse)
        patch.setattr(os, "posix_spawn", refuse)
        patch.setattr(forkserver, "start", answer_refusal)
        process = ctx.Process(target=targets.nothing)
        with pytest.raises(OSError, match="Resource temporarily unavailable") as caught:
            process.start()
        assert any("limit of processes" in note for note in caught.value.__notes__)
    assert len(open_fds()) <= len(before)
    process.start()  # the same object, once there is room
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_no_such_executable(method):
    ctx = polyproc.get_context(method)
    polyproc.set_executable("/no/such/python")
    try:
        process = ctx.Process(target=targets.nothing)
        with pytest.raises(FileNotFoundError, match="/no/such/python"):
            process.start()
    finally:
        polyproc.set_executable(sys.executable)
    assert start_one(ctx) == "works"


def test_fork_server_that_cannot_fork_says_why():
    """The error number of a fork that fails in the fork server comes back to the client."""
    ctx = polyproc.get_context("forkserver")
    assert start_one(ctx) == "works"
    if os.geteuid() == 0:
        pytest.skip("a process limit does not bind the superuser")
    resource.prlimit(forkserver._forkserver_pid, resource.RLIMIT_NPROC, (1, 1))
    with pytest.raises(BlockingIOError):
        start_one(ctx)
