"""The warm spare of a spawn context: a fresh interpreter, started ahead."""

import importlib
import os
import signal
import sys

import pytest

import polyproc
from conftest import eventually, is_running
from polyproc._platform.handles import children_of
from support import targets


@pytest.fixture
def ctx():
    """A spawn context with spares; none is left."""
    made = polyproc.get_context("spawn", preload=["colorsys"])
    yield made
    made.Process._launcher.stop()


def result_of(ctx, target, *args, **options):
    process = ctx.Process(target=target, args=args, **options)
    process.start()
    return process.result(30), process.pid


def spare_of(ctx):
    return ctx.Process._launcher._waiting.pid


def test_next_child_is_the_spare(ctx):
    assert result_of(ctx, targets.echo, 1)[0] == 1
    spare = spare_of(ctx)
    assert is_running(spare)
    assert result_of(ctx, targets.echo, 2) == (2, spare)
    assert spare_of(ctx) != spare


def test_child_is_whole(ctx, tmp_path, monkeypatch):
    for round_ in range(2):
        monkeypatch.chdir(tmp_path if round_ else "/")
        (name, pid, real_pid, ppid, parent_pid, _, alive, _), started = result_of(ctx, targets.who, name="me")
        assert (name, pid, real_pid, ppid, parent_pid, alive) == (
            "me",
            started,
            started,
            os.getpid(),
            os.getpid(),
            True,
        )
        assert result_of(ctx, os.getcwd)[0] == os.getcwd()
        assert set(result_of(ctx, targets.fds, daemon=True)[0]) >= {0, 1, 2}


def test_connections_and_closures_pass(ctx):
    for _ in range(2):
        ours, theirs = ctx.Pipe()
        with ours, theirs:
            process = ctx.Process(target=targets.recv_and_send, args=(theirs,))
            process.start()
            ours.send("ab")
            assert ours.recv() == "abab"
            process.join()
        number = 40
        assert result_of(ctx, lambda x: x + number, 2)[0] == 42  # noqa: B023


def test_a_preloaded_modules_exit_functions_wait_for_the_end(tmp_path, monkeypatch):
    """A spare goes once through a life while it waits, and must not end anything by it."""
    (tmp_path / "registers_at_exit.py").write_text(
        "import atexit, os, polyproc.util\n"
        "said = []\n"
        "atexit.register(said.append, 'exit')\n"
        "polyproc.util.Finalize(None, said.append, ('finalizer',), exitpriority=1)\n"
        "def what_was_said():\n    return said\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = polyproc.get_context("spawn", preload=["registers_at_exit"])
    try:
        for _ in range(2):
            process = made.Process(target=importlib.import_module("registers_at_exit").what_was_said)
            process.start()
            assert process.result(30) == []
    finally:
        made.Process._launcher.stop()
        sys.modules.pop("registers_at_exit")


def test_spare_of_other_circumstances_is_thrown_away(ctx, monkeypatch):
    assert result_of(ctx, targets.echo, 1)[0] == 1
    spare = spare_of(ctx)
    monkeypatch.setenv("POLYPROC_TEST", "new")
    assert result_of(ctx, os.getenv, "POLYPROC_TEST")[0] == "new"
    eventually(lambda: not is_running(spare))


def test_killed_spare_is_replaced(ctx):
    assert result_of(ctx, targets.echo, 1)[0] == 1
    spare = spare_of(ctx)
    os.kill(spare, signal.SIGKILL)
    eventually(lambda: not is_running(spare))
    value, pid = result_of(ctx, targets.echo, 2)
    assert (value, pid != spare) == (2, True)


def test_other_methods_have_none():
    with pytest.raises(ValueError, match="preload is for spawn"):
        polyproc.get_context("fork", preload=[])
    assert not [pid for pid in children_of(os.getpid()) if not is_running(pid)]
