"""A call of a pool that has no other: whoever waits for it hears its worker's answer itself (docs/adr/0055)."""

import os
import signal
import threading
import time

import pytest

import polyproc
from polyproc._base.native import native
from support import pool_work

LIMIT = 20.0
needs_core = pytest.mark.skipif(not native, reason="over pipes the pool's thread hears all")


class Began:
    """Tells, by a file, that a call runs."""

    def __init__(self, folder):
        self.path = str(folder / "began")

    def wait(self):
        until = time.monotonic() + LIMIT
        while not os.path.exists(self.path):
            assert time.monotonic() < until, "it does not begin"
            time.sleep(0.001)


@pytest.fixture
def began(tmp_path):
    return Began(tmp_path)


def begin_and_sleep(path, seconds, value=None):
    with open(path, "w"):
        pass
    time.sleep(seconds)
    return value


def begin_and_loop(path):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with open(path, "w"):
        pass
    pool_work.loop_in_c()


class Opened:
    """Knows the thread in which it was unpickled."""

    def __setstate__(self, state):
        self.thread = threading.get_ident()

    def __getstate__(self):
        return 1


class Awkward:
    def __setstate__(self, state):
        raise ValueError("awkward")

    def __getstate__(self):
        return 1


def apply_in_thread(pool, *call):
    """Call `apply` in a thread; return it, and a list for what comes of it."""
    found = []

    def act():
        try:
            found.append(pool.apply(*call))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread, found


def came(thread, found):
    thread.join(LIMIT)
    assert not thread.is_alive(), "no end"
    return found[0]


@needs_core
def test_the_caller_hears_the_answer(monkeypatch):
    with polyproc.get_context("fork").Pool(2) as pool:
        assert pool.map(abs, range(4)) == [0, 1, 2, 3]
        scheduler, hearers = pool._engine.scheduler, []
        returned = scheduler.returned
        monkeypatch.setattr(
            scheduler, "returned", lambda *args: hearers.append(threading.get_ident()) or returned(*args)
        )
        assert [pool.apply(abs, (number,)) for number in range(50)] == list(range(50))
        assert hearers == [threading.get_ident()] * 50
        assert pool.apply(Opened).thread == threading.get_ident()
        with pytest.raises(ValueError, match="awkward"):
            pool.apply(Awkward)
        with pytest.raises(ZeroDivisionError):
            pool.apply(divmod, (1, 0))
        assert pool.stats().idle == 2


def test_it_is_answered_beside_calls_that_come_later(method, began):
    with polyproc.get_context(method).Pool(1) as pool:
        thread, found = apply_in_thread(pool, begin_and_sleep, (began.path, 0.1, "first"))
        began.wait()
        later = [pool.apply_async(pool_work.double, (number,)) for number in range(50)]
        assert pool.apply(pool_work.double, (50,)) == 100
        assert [result.get(LIMIT) for result in later] == [2 * number for number in range(50)]
        assert came(thread, found) == "first"


def test_its_worker_is_killed(method, began):
    with polyproc.get_context(method).Pool(1) as pool:
        thread, found = apply_in_thread(pool, begin_and_sleep, (began.path, 60))
        began.wait()
        os.kill(pool._pool[0].pid, signal.SIGKILL)
        assert isinstance(came(thread, found), polyproc.ProcessDied)
        assert pool.apply(pool_work.double, (1,)) == 2


def test_its_pool_is_terminated(method, began):
    """Before its worker has ended, which does not hear that it should."""
    with polyproc.get_context(method).Pool(1) as pool:
        thread, found = apply_in_thread(pool, begin_and_loop, (began.path,))
        began.wait()
        pid = pool._pool[0].pid
        pool.terminate()
        assert "terminated" in str(came(thread, found))
        pool.join()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_its_pool_is_closed(method, began):
    with polyproc.get_context(method).Pool(1) as pool:
        thread, found = apply_in_thread(pool, begin_and_sleep, (began.path, 0.1, "value"))
        began.wait()
        pool.close()
        assert came(thread, found) == "value"
        pool.join()


def test_a_ctrl_c_ends_the_wait_and_the_call(began):
    with polyproc.get_context("fork").Pool(1) as pool:
        helper = threading.Thread(target=lambda: (began.wait(), os.kill(os.getpid(), signal.SIGINT)))
        helper.start()
        with pytest.raises(KeyboardInterrupt):
            pool.apply(begin_and_sleep, (began.path, 60))
        helper.join()
        assert pool.apply(pool_work.double, (1,)) == 2


def test_its_worker_leaves_behind_its_answer(method):
    with polyproc.get_context(method).Pool(1, maxtasksperchild=1) as pool:
        assert len({pool.apply(os.getpid) for _ in range(4)}) == 4
    with polyproc.get_context(method).Pool(1, max_memory_per_child=1) as pool:
        assert len({pool.apply(os.getpid) for _ in range(4)}) >= 2


def test_a_subclass_has_it_go_its_own_way():
    class Own(polyproc.pool.Pool):
        def apply_async(self, *args, **kwds):
            calls.append(args)
            return super().apply_async(*args, **kwds)

    calls = []
    with Own(1) as pool:
        assert pool.apply(abs, (-1,)) == 1
    assert calls == [(abs, (-1,), {})]


def test_it_is_made_in_a_callback(method):
    with polyproc.get_context(method).Pool(2) as pool:
        found = []
        pool.apply_async(abs, (-1,), callback=lambda value: found.append(pool.apply(abs, (-2,)))).get(LIMIT)
        assert found == [2]


@pytest.mark.parametrize("threads", [2, 8])
def test_many_threads_call_at_once(method, threads):
    found = [[] for _ in range(threads)]
    with polyproc.get_context(method).Pool(2) as pool:

        def act(values):
            values += [pool.apply(pool_work.double, (number,)) for number in range(200)]

        callers = [threading.Thread(target=act, args=(values,)) for values in found]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(LIMIT)
        assert found == [[2 * number for number in range(200)]] * threads
        assert pool.stats().done == 200 * threads


def crash_at(point):
    import polyproc._core as core

    core.crash_at(point)
    return os.getpid()


@pytest.mark.skipif(not native or not native.core.CRASHPOINTS, reason="the C core was built without crash points")
@pytest.mark.parametrize("point", ["queue.written", "queue.committed", "queue.unlocked"])
def test_its_worker_dies_as_it_answers(point):
    """The answer counts from the store that commits it, whether its worker could wake anybody or not."""
    with polyproc.get_context("fork").Pool(1) as pool:
        pool.apply(abs, (1,))
        if point == "queue.written":
            with pytest.raises(polyproc.ProcessDied):
                pool.apply(crash_at, (point,))
        else:
            pid = pool._pool[0].pid
            assert pool.apply(crash_at, (point,)) == pid
        assert pool.apply(abs, (-1,)) == 1
