"""Programs that reach inside: subclasses of queues and pools, launchers of others, replaced functions."""

import functools
import os
import pickle
import subprocess
import sys
import threading

import pytest

import polyproc
from polyproc import queues, reduction, spawn, synchronize, util
from support import inside
from support.inside import FeedingQueue, LockedQueue, Number, Pickler, PicklingPool, PlainInsideQueue, TellingQueue


def through(ctx, make):
    """Send numbers to a child and back by two queues; return what came back."""
    there, back = make(), make()
    process = ctx.Process(target=inside.echo, args=(there, back))
    process.start()
    for value in range(3):
        there.put(Number(value))
    there.put(None)
    got = list(iter(back.get, None))
    process.join()
    assert process.exitcode == 0
    for queue in (there, back):
        queue.close()
        if hasattr(queue, "join_thread"):
            queue.join_thread()
    return got


def test_a_queue_whose_feeder_is_replaced(ctx):
    got = through(ctx, lambda: FeedingQueue(ctx=ctx, pickler=Pickler("fed")))
    assert got == [Number(value, "fed") for value in range(3)]


def test_a_simple_queue_whose_put_is_replaced(ctx):
    got = through(ctx, lambda: LockedQueue(ctx=ctx, pickler=Pickler("locked")))
    assert got == [Number(value, "locked") for value in range(3)]


def test_a_queue_that_looks_inside_is_whole(ctx):
    assert through(ctx, lambda: PlainInsideQueue(ctx=ctx)) == [Number(value) for value in range(3)]
    queue = PlainInsideQueue(2, ctx=ctx)
    queue.put(1)
    queue.put(2, timeout=5)
    assert queue.full()
    assert queue.qsize() == 2
    with pytest.raises(queues.Full):
        queue.put_nowait(3)
    with pytest.raises(queues.Full):
        queue.put(3, timeout=0.01)
    assert [queue.get(), queue.get(timeout=20)] == [1, 2]
    assert queue.empty()
    assert queue.depth == 0
    for options in ({"block": False}, {"timeout": 0.01}):
        with pytest.raises(queues.Empty):
            queue.get(**options)
    queue.put(threading.Lock())  # told on standard error, as the standard library does
    queue.put("after")
    assert queue.get(timeout=20) == "after"
    queue.close()
    queue.join_thread()
    with pytest.raises(ValueError, match="is closed"):
        queue.put(1)


def test_subclasses_are_what_they_say():
    assert issubclass(PlainInsideQueue, queues.Queue)
    assert isinstance(PlainInsideQueue(), queues.Queue)
    assert issubclass(LockedQueue, queues.SimpleQueue)
    assert not issubclass(LockedQueue, queues.Queue)
    assert queues.Queue in TellingQueue.__mro__  # it touches nothing, and is a queue as all are
    assert queues.Queue not in FeedingQueue.__mro__


def test_a_pool_whose_queues_pickle(ctx):
    with PicklingPool(2, context=ctx) as pool:
        assert pool.apply(inside.seen, (Number(1),)) == ("in", Number(2, "out"))
        assert pool.map(inside.seen, map(Number, range(20)), chunksize=3) == [
            ("in", Number(value + 1, "out")) for value in range(20)
        ]
        assert pool.starmap(inside.added, [(Number(1), Number(2))]) == [Number(3, "out")]
        assert list(pool.imap(inside.seen, [Number(5)])) == [("in", Number(6, "out"))]
        assert pool.submit(inside.seen, Number(7)).result() == ("in", Number(8, "out"))
        with pytest.raises(LookupError):
            pool.apply(inside.fail, (Number(1),))
        with pytest.raises(TypeError):
            pool.apply(inside.seen, (threading.Lock(),))
        with pytest.raises(polyproc.pool.MaybeEncodingError):
            pool.apply(threading.Lock)


def test_a_pool_says_how_many_workers_it_has(ctx):
    with ctx.Pool(2) as pool:
        assert pool._processes == 2


def test_a_descriptor_goes_to_a_process_that_runs(ctx):
    queue, answers = ctx.Queue(), ctx.Queue()
    process = ctx.Process(target=inside.read_from, args=(queue, answers))
    process.start()
    read_fd, write_fd = os.pipe()
    queue.put(reduction.DupFd(read_fd))
    os.close(read_fd)  # the other has its own
    os.write(write_fd, b"text")
    os.close(write_fd)
    assert answers.get(timeout=30) == b"text"
    process.join()


class Launcher:
    """Another's way to start a process, as far as the pickler sees it: loky's is like this."""

    method = "other"

    def __init__(self):
        self.passed = []

    def duplicate_for_child(self, fd):
        self.passed.append(fd)
        return fd

    def DupFd(self, fd):
        return ("passed", fd)


def test_a_launcher_of_another_is_told_of_each_descriptor():
    launcher = Launcher()
    ours, theirs = polyproc.Pipe()
    polyproc.context.set_spawning_popen(launcher)
    try:
        assert polyproc.context.get_spawning_popen() is launcher
        assert pickle.dumps((ours, polyproc.Lock()))
    finally:
        polyproc.context.set_spawning_popen(None)
    assert ours.fileno() in launcher.passed
    assert len(launcher.passed) >= 2
    ours.close()
    theirs.close()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_what_a_program_tells_its_children_beyond(method, monkeypatch):
    original = spawn.get_preparation_data

    def with_more(name):
        return {**original(name), "more": inside.Bringer(f"for {name}")}

    monkeypatch.setattr(spawn, "get_preparation_data", with_more)
    process = polyproc.get_context(method).Process(target=inside.brought, name="it")
    process.start()
    process.join()
    assert process.result() == "for it"


def test_sem_lock():
    for made in (polyproc.Lock(), polyproc.RLock(), polyproc.Semaphore(3), polyproc.BoundedSemaphore(2)):
        assert isinstance(made, synchronize.SemLock)
    assert not isinstance(polyproc.Event(), synchronize.SemLock)
    made = synchronize.SemLock(synchronize.SEMAPHORE, 2, 3, ctx=None)
    assert [made.acquire(block=False) for _ in range(3)] == [True, True, False]
    for _ in range(3):
        made.release()
    with pytest.raises(ValueError, match="released too many times"):
        made.release()
    free, held = (synchronize.SemLock(synchronize.SEMAPHORE, value, 1) for value in (1, 0))
    assert (free.acquire(block=False), held.acquire(block=False)) == (True, False)
    again = synchronize.SemLock(synchronize.RECURSIVE_MUTEX, 1, 1)
    assert again.acquire()
    assert again.acquire()
    wide = synchronize.SemLock(synchronize.SEMAPHORE, 0, synchronize.SEM_VALUE_MAX)
    wide.release()
    assert wide.get_value() == 1
    with pytest.raises(ValueError, match="cannot start at 4"):
        synchronize.SemLock(synchronize.SEMAPHORE, 4, 3)


def test_live_names():
    process = polyproc.process
    assert process._current_process is polyproc.current_process()
    assert os.getcwd() == process.ORIGINAL_DIR
    child = polyproc.get_context("fork").Process(target=inside.brought)
    child.start()
    assert process._children == {child}
    child.join()
    assert process._children == set()
    code = (
        "from polyproc import util\n"
        "assert (util._logger, util._log_to_stderr) == (None, False)\n"
        "logger = util.log_to_stderr()\n"
        "assert (util._logger, util._log_to_stderr) == (logger, True)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert util.is_exiting() is False


def test_dill_like_reducers():
    method = inside.Pickler("x").dumps
    assert reduction._reduce_method(method) == (getattr, (method.__self__, "dumps"))
    assert reduction._reduce_method_descriptor(list.append) == (getattr, (list, "append"))
    rebuild, args = reduction._reduce_partial(functools.partial(divmod, 7))
    assert rebuild(*args)(2) == (3, 1)


def test_programs_that_a_drop_in_program_starts(tmp_path):
    """They mean polyproc too, and their own sitecustomize is still heard."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.theirs = True\n")
    inner = "import multiprocessing, sys; print(multiprocessing.__name__, sys.theirs, 'foreign' in str(sys.path))"
    outer = f"import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', {inner!r}]))"
    (tmp_path / "outer.py").write_text(outer)
    for pythonpath in (str(tmp_path), os.pathsep.join([str(tmp_path), str(tmp_path)])):
        done = subprocess.run(
            [sys.executable, "-m", "polyproc", "run", str(tmp_path / "outer.py")],
            env={**os.environ, "PYTHONPATH": pythonpath},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.stdout, done.stderr, done.returncode) == ("polyproc True False\n", "", 0)
