"""A call that is cancelled or runs out of time is interrupted wherever it is, and its worker is as good as before."""

import concurrent.futures
import importlib
import os
import sys
import time

import pytest

import polyproc
from conftest import eventually

# A package that a torn import leaves unusable: its part stays in sys.modules, and is never bound to the name again.
PACKAGE = {
    "__init__.py": "import torn.part\nimport torn.slow\nfrom torn.part import *\nvalue = part.value\n",
    "part.py": "__all__ = []\nvalue = 3\n",
    "slow.py": "import time\nfrom pathlib import Path\nPath({began!r}).touch()\ntime.sleep(0.6)\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import takes a while after its part has been imported; returns the file that says it began."""
    folder = tmp_path / "torn"
    folder.mkdir()
    began = tmp_path / "began"
    for name, text in PACKAGE.items():
        (folder / name).write_text(text.format(began=str(began)))
    monkeypatch.syspath_prepend(str(tmp_path))
    return began


def import_it(again=0.0):
    value = importlib.import_module("torn").value
    time.sleep(again)
    return os.getpid(), value


def test_a_cancelled_call_tears_no_import(ctx, package):
    with ctx.Pool(1) as pool:
        worker = pool.apply(os.getpid)
        future = pool.options(grace=30.0).submit(import_it, 60.0)
        eventually(package.exists)
        future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            future.result(60)
        assert pool.apply(import_it) == (worker, 3)


def test_a_call_out_of_time_tears_no_import(ctx, package):
    with ctx.Pool(1) as pool:
        worker = pool.apply(os.getpid)
        with pytest.raises(polyproc.TimeoutError):
            pool.options(timeout=0.2, grace=30.0).apply(import_it, (60.0,))
        assert pool.apply(import_it) == (worker, 3)


class NapsAtItsEnd:
    def __init__(self, seconds):
        self.seconds = seconds

    def __del__(self):
        time.sleep(self.seconds)


def drops_what_is_raised(path):
    """Be interrupted where the interpreter drops exceptions, and only then where it does not."""
    open(path, "x").close()
    NapsAtItsEnd(0.5)
    time.sleep(60)


@pytest.mark.parametrize("why", ["cancelled", "timeout"])
def test_an_interruption_is_not_lost_where_exceptions_are_dropped(ctx, tmp_path, capfd, why):
    path = tmp_path / "began"
    with ctx.Pool(1) as pool:
        worker = pool.apply(os.getpid)
        pool.apply(NapsAtItsEnd, (0.0,))  # its module is there: the time is the call's own
        view = pool.options(grace=30.0, timeout=0.3 if why == "timeout" else None)
        future = view.submit(drops_what_is_raised, str(path))
        if why == "cancelled":
            eventually(path.exists)
            future.cancel()
        with pytest.raises(polyproc.TimeoutError if why == "timeout" else concurrent.futures.CancelledError):
            future.result(60)
        assert pool.apply(os.getpid) == worker
    assert capfd.readouterr().err == ""


def drops_another():
    class Odd:
        def __del__(self):
            raise ZeroDivisionError("dropped as ever")

    Odd()


def report_on_stderr():
    sys.unraisablehook = sys.__unraisablehook__  # pytest gathers them in a forked worker


def test_other_errors_that_are_dropped_are_reported_as_ever(ctx, tmp_path, capfd):
    path = tmp_path / "began"
    with ctx.Pool(1, initializer=report_on_stderr) as pool:
        future = pool.options(grace=30.0).submit(drops_what_is_raised, str(path))
        eventually(path.exists)
        future.cancel()
        pool.apply(drops_another)
    assert "dropped as ever" in capfd.readouterr().err


def clean_up(path):
    """Set a worker up, and tear it down by saying so in a file."""
    yield path
    open(path, "x").close()


def test_a_worker_that_is_to_end_ends_though_its_exception_is_dropped(ctx, tmp_path, capfd):
    began, ended = tmp_path / "began", tmp_path / "ended"
    pool = ctx.Pool(1, initializer=clean_up, initargs=(str(ended),))
    pool.submit(drops_what_is_raised, str(began))
    eventually(began.exists)
    pool.terminate()
    pool.join()
    assert ended.exists()
    assert capfd.readouterr().err == ""
