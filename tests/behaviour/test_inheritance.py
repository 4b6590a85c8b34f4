"""What a child has of its parent: what was passed, and nothing else."""

import os
import re
import socket
import sys
from pathlib import Path

import pytest

import polyproc
from conftest import eventually
from polyproc._forkserver.fork_server import forkserver
from polyproc._platform.handles import has_pidfds
from support import light, targets


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_child_inherits_no_descriptor_but_what_was_passed(method):
    ctx = polyproc.get_context(method)
    leaked = os.dup(0)
    os.set_inheritable(leaked, True)
    listening = socket.socket()
    ours, theirs = ctx.Pipe()
    try:
        for daemon in (False, True):
            process = ctx.Process(target=targets.fds, daemon=daemon)
            process.start()
            found = process.result(30)
            assert set(found) >= {0, 1, 2}
            rest = [name for fd, name in found.items() if fd > 2]
            boxes = [name for name in rest if re.search(r"polyproc-(box|\d+-)", name)]
            lifelines = [name for name in rest if name.startswith("pipe:")]
            assert len(boxes) == 1
            if has_pidfds():
                assert len(lifelines) == daemon
            else:  # its own, which its parent waits for, and its parent's
                assert len(set(lifelines)) == 2
            assert len(rest) - len(boxes) - len(lifelines) <= 1, rest  # the listing's own
            assert found[0] == "/dev/null"
    finally:
        os.close(leaked)
        listening.close()
        ours.close()
        theirs.close()


def test_connections_pass(ctx):
    ours, theirs = ctx.Pipe()
    with ours, theirs:
        process = ctx.Process(target=targets.recv_and_send, args=(theirs,))
        process.start()
        ours.send("ab")
        assert ours.recv() == "abab"
        process.join()


def test_more_connections_than_fit_in_one_message(ctx):
    pipes = [ctx.Pipe() for _ in range(300)]
    process = ctx.Process(target=_send_all, args=([theirs for _, theirs in pipes],))
    process.start()
    assert [ours.recv() for ours, _ in pipes] == list(range(300))
    process.join()
    for ours, theirs in pipes:
        ours.close()
        theirs.close()


def _send_all(connections):
    for number, connection in enumerate(connections):
        connection.send(number)


def test_environment_directory_path_and_arguments_are_those_of_now(ctx, tmp_path, monkeypatch):
    forkserver.ensure_running()
    monkeypatch.setenv("POLYPROC_TEST", "set after the fork server was started")
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "argument"])
    monkeypatch.syspath_prepend(str(tmp_path))
    process = ctx.Process(target=_surroundings)
    process.start()
    env, home, cwd, argv, path = process.result(30)
    assert (env, home, cwd, argv) == (
        "set after the fork server was started",
        None,
        str(tmp_path),
        ["program", "argument"],
    )
    assert path == str(tmp_path)


def _surroundings():
    return os.environ.get("POLYPROC_TEST"), os.environ.get("HOME"), os.getcwd(), sys.argv, sys.path[0]


class Word(str):
    """A string that is not a str, as enumerations have them."""


def test_what_is_no_plain_string_travels_too(ctx, monkeypatch):
    """Programs put paths into sys.path and parsed values into sys.argv."""
    path, argv = [*sys.path, Path("/no/such/folder")], ["program", Path("a"), 5, Word("word")]
    monkeypatch.setattr(sys, "path", path)
    monkeypatch.setattr(sys, "argv", argv)
    for options in ({"name": Word("a name")}, {"daemon": 1}, {"args": (Word("x"),)}):
        process = ctx.Process(target=_lists, **options)
        process.start()
        assert process.result(30) == (options.get("name", process.name), path[-1], argv)
    with ctx.Pool(1) as pool:
        assert pool.apply(_lists)[1:] == (path[-1], argv)


def _lists(*args):
    return polyproc.current_process().name, sys.path[-1], sys.argv


def test_large_arguments(ctx):
    data = os.urandom(3 << 20)
    process = ctx.Process(target=targets.echo, args=(data,))
    process.start()
    assert process.result(30) == data


def test_child_loads_little_before_user_code():
    process = polyproc.get_context("spawn").Process(target=light.modules)
    process.start()
    loaded = set(process.result(30).split())
    ours = {name for name in loaded if name.startswith("polyproc")}
    assert len(ours) <= 30
    heavy = {
        "logging",
        "socket",
        "subprocess",
        "tempfile",
        "signal",
        "threading",
        "pickle",
        "typing",
        "re",
        "enum",
        "asyncio",
    }
    assert not loaded & heavy


def test_hooks_of_registered_modules_run_in_forked_children_only():
    from polyproc.util import register_after_fork

    marker = type("Marker", (), {})()
    called = []
    register_after_fork(marker, called.append)
    process = polyproc.get_context("fork").Process(target=lambda: len(called))
    process.start()
    assert process.result(30) == 1
    assert not called
    eventually(lambda: process not in polyproc.active_children())
